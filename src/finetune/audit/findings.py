"""What an audit finds, measured against the thresholds of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from finetune.recipe.types import Audit, Threshold

Verdict = Literal["ok", "warn", "refuse"]
NAMED = 3  # places named one by one


@dataclass(frozen=True)
class Measured:
    """One check over some rows; `share`, from 0 to 1, is what thresholds speak of.

    `rows` are the numbers of those concerned, `unit` is what was counted; `more` is a remark.
    """

    check: str
    count: int
    of: int
    rows: Sequence[int] = ()
    unit: str = "rows"
    share: float | None = None
    more: str = ""

    @property
    def value(self) -> float:
        """The share that is compared with the thresholds."""
        return self.share if self.share is not None else self.count / max(1, self.of)


@dataclass(frozen=True)
class Finding:
    """A check with its verdict and the places it was found at."""

    check: str
    what: str
    count: int
    of: int
    unit: str
    share: float
    verdict: Verdict
    limit: float  # the threshold passed, or the nearest one that was not
    places: tuple[str, ...]
    more: str
    remedy: str

    def __str__(self) -> str:
        where = f", first {self.places[0]}" if self.places else ""
        more = f" ({self.more})" if self.more else ""
        return f"{self.what}: {self.count:,} of {self.of:,} {self.unit}{where}{more}"


# Check -> (what it finds, what to do about it).
TEXTS: dict[str, tuple[str, str]] = {
    "cut_tokens": ("learnt tokens cut off the end", "Raise train.max_length, or shorten the rows."),
    "shortened": (
        "prompts that lost their middle to fit",
        "Raise train.max_length, if the base takes more.",
    ),
    "nothing_learnt": (
        "rows without a token to learn",
        "Raise train.max_length, choose another `mask`, or remove rows without an answer.",
    ),
    "unstopped": (
        "answers learnt without a token that ends them",
        "The model would not learn to stop: give base.chat_template a template that ends answers.",
    ),
    "double_bos": (
        "rows that begin with two start tokens",
        "Take the start token out of the text; the chat template writes it.",
    ),
    "apart": (
        "answers whose prompt reads otherwise at inference",
        "Learn the last answer alone (mask: last_turn), or choose another base.chat_template.",
    ),
    "lookalikes": (
        "texts that read as special tokens",
        "Take them out of the rows, unless they are meant.",
    ),
    "duplicates": ("rows that stand there before", "Remove the copies."),
    "near_duplicates": ("rows nearly the same as one before", "Remove most of them."),
    "overlap": (
        "evaluation rows that training has seen",
        "Take them out of the training rows: scores on them measure memory.",
    ),
    "damaged_text": (
        "rows with text damaged by a wrong encoding",
        "Read the source in its own encoding and write it as UTF-8.",
    ),
    "refused_rows": ("rows that could not be used", "Mend them; their places stand beside them."),
    "length_bias": (
        "pairs on one side of 'the longer answer is the better one'",
        "The model may learn length: balance the pairs, or look at length in the evaluation.",
    ),
}


def judged(
    found: Iterable[Measured], audit: Audit, place: Callable[[int], str]
) -> tuple[Finding, ...]:
    """Each measurement against its threshold; `place` names a row by its number."""
    return tuple(_judged(each, _threshold(audit, each.check), place) for each in found)


def _judged(found: Measured, limits: Threshold, place: Callable[[int], str]) -> Finding:
    warn, refuse = limits.warn or 0.0, limits.refuse if limits.refuse is not None else 1.0
    verdict: Verdict = "ok"
    if found.value > warn:
        verdict = "warn"
    if found.value > refuse:
        verdict = "refuse"
    what, remedy = TEXTS[found.check]
    return Finding(
        check=found.check,
        what=what,
        count=found.count,
        of=found.of,
        unit=found.unit,
        share=found.value,
        verdict=verdict,
        limit=refuse if verdict == "refuse" else warn,
        places=tuple(place(row) for row in found.rows[:NAMED]),
        more=found.more,
        remedy=remedy,
    )


def _threshold(audit: Audit, check: str) -> Threshold:
    """The recipe's threshold; what it leaves out stays as it is by default."""
    given, usual = getattr(audit, check), getattr(Audit(), check)
    return Threshold(
        warn=usual.warn if given.warn is None else given.warn,
        refuse=usual.refuse if given.refuse is None else given.refuse,
    )
