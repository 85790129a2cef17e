"""How likely a model finds given answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from finetune.data.tokens import IGNORED, Encoded
from finetune.models.batches import batches_by_length, right_padded
from finetune.tasks.likely import Likelihood


def likelihoods(
    model: Any, rows: Sequence[Encoded], batch_size: int, title: str
) -> list[Likelihood]:
    """Likelihood of each row's learnt tokens given what stands before them; order as given."""
    found = [Likelihood(0.0, 0)] * len(rows)
    lengths = [len(row.input_ids) for row in rows]
    with tqdm(total=len(rows), desc=title, unit="row", disable=None, leave=False) as bar:
        for batch in batches_by_length(lengths, batch_size):
            values = _of_batch(model, [rows[row] for row in batch])
            for row, value in zip(batch, values, strict=True):
                found[row] = value
            bar.update(len(batch))
    return found


def _of_batch(model: Any, rows: Sequence[Encoded]) -> list[Likelihood]:
    ids, mask, labels = (tensor.to(model.device) for tensor in right_padded(rows).values())
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return [_of_row(*row) for row in zip(logits, labels, strict=True)]


def _of_row(logits: torch.Tensor, labels: torch.Tensor) -> Likelihood:
    """One row at a time: the logits of a whole batch in float32 would fill a GPU."""
    learnt = labels[1:] != IGNORED
    losses = torch.nn.functional.cross_entropy(
        logits[:-1][learnt].float(), labels[1:][learnt], reduction="none"
    )
    return Likelihood(-losses.sum(dtype=torch.float64).item(), int(learnt.sum()))


def windows(ids: Sequence[int], prefix: int, max_length: int, stride: int) -> list[Encoded]:
    """A text as windows of at most `max_length` tokens, in which every token counts exactly once.

    The text begins after the token `prefix`, so that its first token can be predicted too. Each
    window starts `stride` tokens after the one before and counts what that one has not seen: from
    the second window on a token has at least `max_length - stride` tokens before it.
    """
    whole = [prefix, *ids]
    found, counted = [], 1
    for start in range(0, len(whole), stride):
        window = whole[start : start + max_length]
        labels = [IGNORED] * (counted - start) + whole[counted : start + max_length]
        found.append(Encoded(window, labels))
        counted = start + len(window)
        if counted == len(whole):
            break
    return found
