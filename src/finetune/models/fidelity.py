"""How far two models are apart, measured on their logits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from finetune.data.shorten import render

# A few texts of our own: any text will do, since two equal models agree on all of them.
PROBES = (
    "The ferry leaves at half past six, so pack tonight and set two alarms.",
    "CREATE TABLE lamp (id INTEGER, colour TEXT, price REAL); how many lamps are red?",
    "Noor: did the parcel come?\nIvan: yes, it was at the neighbour's\nNoor: great, thanks!",
    "Une phrase en français, ein Satz auf Deutsch, 漢字 and 12.5 % of a number.",
)


@dataclass(frozen=True)
class Difference:
    """Between two sets of logits over the same tokens; `mean_kl` in nats, first to second."""

    max_logit: float
    mean_logit: float
    mean_kl: float

    def facts(self, prefix: str) -> dict[str, float]:
        """As plain values for the record."""
        return {f"{prefix}_{name}": value for name, value in asdict(self).items()}


def probe_logits(model: Any, tokenizer: Any) -> list[torch.Tensor]:
    """Logits (tokens, vocabulary) in float32 on the CPU for each probe, one at a time."""
    found = []
    for text in PROBES:
        ids = torch.tensor([render(tokenizer, [{"role": "user", "content": text}], True)])
        with torch.inference_mode():
            logits = model(input_ids=ids.to(model.device), use_cache=False).logits[0]
        found.append(logits.float().cpu())
    return found


def difference(first: list[torch.Tensor], second: list[torch.Tensor]) -> Difference:
    """The largest and the mean gap, and how much the predicted distributions differ."""
    largest, total, divergence = torch.zeros(()), 0.0, 0.0
    for a, b in zip(first, second, strict=True):  # one at a time: vocabularies are large
        gaps = (a - b).abs()
        largest, total = torch.maximum(largest, gaps.max()), total + gaps.double().sum().item()
        log_a, log_b = a.double().log_softmax(dim=-1), b.double().log_softmax(dim=-1)
        divergence += (log_a.exp() * (log_a - log_b)).sum().item()
    tokens, values = sum(map(len, first)), sum(each.numel() for each in first)
    # Rounding may make it negative; what is no number stays none.
    kl = 0.0 if divergence < 0 else divergence / tokens
    return Difference(largest.item(), total / values, kl)
