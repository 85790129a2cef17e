"""How likely a model finds given answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm

from finetune.data.tokens import IGNORED, Encoded
from finetune.models.batches import batches_by_length


@dataclass(frozen=True)
class Likelihood:
    """Log-probability (nats) of a row's learnt tokens, and how many they are."""

    logprob: float
    tokens: int

    @property
    def per_token(self) -> float:
        """Mean log-probability of a token."""
        return self.logprob / max(self.tokens, 1)


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
    ids, mask, labels = (tensor.to(model.device) for tensor in _right_padded(rows))
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2),
        labels[:, 1:],
        ignore_index=IGNORED,
        reduction="none",
    )
    counts = (labels[:, 1:] != IGNORED).sum(dim=1).tolist()
    sums = losses.sum(dim=1, dtype=torch.float64).tolist()
    return [Likelihood(-total, count) for total, count in zip(sums, counts, strict=True)]


def _right_padded(rows: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(rows, longest row) each: ids, attention mask, labels."""
    longest = max(len(row.input_ids) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED)
    for number, row in enumerate(rows):
        length = len(row.input_ids)
        ids[number, :length] = torch.tensor(row.input_ids)
        mask[number, :length] = 1
        labels[number, :length] = torch.tensor(row.labels)
    return ids, mask, labels
