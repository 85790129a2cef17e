"""An audit in the terminal: a table for each stage, and how long its rows are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from finetune.audit.findings import Finding
from finetune.audit.look import Audited

BARS, WIDTH = 10, 40


def shown(audited: Audited) -> str:
    """The findings of one stage, the worst first, with what to do about them."""
    lines = [f"{audited.stage}: {audited.source} {audited.said}; {audited.rows:,} rows"]
    for finding in sorted(_told(audited), key=lambda each: each.verdict):
        lines.append(f"  {finding.verdict:<7} {finding.check}, {finding.share:.2%}: {finding}")
        lines += [f"{'':<12}also {place}" for place in finding.places[1:]]
        lines.append(f"{'':<10}{finding.remedy}")
    fine = [each.check for each in audited.findings if each.verdict == "ok"]
    lines.append(f"  {'ok':<7} {', '.join(dict.fromkeys(fine))}")
    lines += [f"  note    {note}" for note in audited.notes]
    return "\n".join([*lines, *_histogram(audited.lengths, audited.limit)])


def refusal(audited: Sequence[Audited]) -> str:
    """What stops a run, each with its way out; empty where nothing does."""
    return "\n".join(
        f"  {each.stage}: {finding}; more than {finding.limit:.0%} is refused\n"
        f"    {finding.remedy} To go on all the same: audit.{finding.check}.refuse=1"
        for each in audited
        for finding in each.findings
        if finding.verdict == "refuse"
    )


def warnings(audited: Audited) -> list[str]:
    """A sentence for each finding that is told and stops nothing."""
    return [str(finding) for finding in audited.findings if finding.verdict == "warn"]


def _told(audited: Audited) -> list[Finding]:
    return [finding for finding in audited.findings if finding.verdict != "ok"]


def as_json(audited: Audited) -> dict[str, Any]:
    """The same as plain data; lengths as their percentiles."""
    return {
        "stage": audited.stage,
        "source": audited.source,
        "said": audited.said,
        "rows": audited.rows,
        "findings": [vars(finding) for finding in audited.findings],
        "tokens": _percentiles(audited.lengths),
        "limit": audited.limit,
        "notes": list(audited.notes),
    }


def _percentiles(lengths: Sequence[int]) -> dict[str, int]:
    ordered = sorted(lengths)
    last = len(ordered) - 1
    return {
        name: ordered[round(share * last)]
        for name, share in (("least", 0.0), ("median", 0.5), ("p95", 0.95), ("most", 1.0))
        if ordered
    }


def _histogram(lengths: Sequence[int], limit: int | None) -> Iterator[str]:
    if not lengths:
        return
    found = _percentiles(lengths)
    full = sum(length >= limit for length in lengths) / len(lengths) if limit else 0
    yield (
        f"  tokens a row: {found['least']} to {found['most']}, median {found['median']}, "
        f"95% within {found['p95']}" + (f"; {full:.1%} fill max_length {limit}" if limit else "")
    )
    step = max(1, -(-(found["most"] + 1) // BARS))
    counts = [0] * BARS
    for length in lengths:
        counts[min(BARS - 1, length // step)] += 1
    for bar, count in enumerate(counts):
        if bar * step <= found["most"]:
            stars = "█" * round(WIDTH * count / max(counts))
            yield f"  {bar * step:>7,}-{(bar + 1) * step - 1:<7,} {stars} {count:,}"
