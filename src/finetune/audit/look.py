"""A recipe's rows looked at as its stages will see them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from finetune.audit.findings import Finding, Measured, judged
from finetune.audit.near import near_duplicates
from finetune.audit.overlap import overlap
from finetune.audit.texts import damaged, duplicates, joined, length_bias, parts
from finetune.audit.tokens import checks
from finetune.data.encoded import encode_rows
from finetune.data.examples import Conversation, Examples, Pair
from finetune.data.pairs import answered
from finetune.data.rows import describe
from finetune.data.scratch import Scratch
from finetune.models.tokenizers import load_tokenizer
from finetune.recipe.types import Base, Data, Dpo, Pretrain, Recipe, Score, Sft, Stage
from finetune.tasks import scored
from finetune.tasks.examples import conversations, pairs, texts

LOOKED_AT = 20_000  # rows compared for near-duplicates, drawn at random where there are more
READERS: dict[type[Stage], Callable[[Data], Examples[Any]]] = {
    Pretrain: texts,
    Sft: conversations,
    Dpo: pairs,
}


@dataclass(frozen=True)
class HeldOut:
    """The rows of one evaluation, and what each of them asks."""

    rows: Examples[Any]
    asked: tuple[str, ...]


@dataclass(frozen=True)
class Audited:
    """What was found in the rows of one stage; `lengths` are tokens a row, none without them."""

    stage: str
    source: str
    said: str
    rows: int
    findings: tuple[Finding, ...]
    lengths: tuple[int, ...] = ()
    limit: int | None = None
    notes: tuple[str, ...] = ()


def audit(recipe: Recipe, names: Sequence[str] = (), most: int | None = None) -> Iterator[Audited]:
    """The training data of every stage (or of those named), one after another.

    Of more than `most` rows a seeded sample of so many is looked at, and that is noted.

    Raises:
        DataError: rows cannot be read or rendered at all.
    """
    held_out = dict(_evaluations(recipe))
    for stage in recipe.stages:
        reader = READERS.get(type(stage))
        if reader is None or (names and stage.name not in names):
            continue
        rows = reader(stage.data)  # type: ignore[attr-defined]
        if most is not None and len(rows) > most:
            few = rows.select(sample(len(rows), recipe.seed, most))
            found = _audited(recipe, stage, few, held_out)
            note = f"{most:,} of {len(rows):,} rows looked at; `finetune audit` takes all"
            yield replace(found, notes=(*found.notes, note))
        else:
            yield _audited(recipe, stage, rows, held_out)


def _audited(
    recipe: Recipe, stage: Any, rows: Examples[Any], held_out: dict[str, HeldOut]
) -> Audited:
    scratch = Scratch()  # gone when this function ends
    tokens = _encoded(recipe.base, stage, rows, scratch.folder)
    lengths = tuple(tokens["length"]) if tokens is not None else ()
    tokenizer = _tokenizer(recipe.base) if tokens is not None else None
    of_tokens = list(checks(tokens, tokenizer.bos_token_id)) if tokenizer else []
    each = 2 if isinstance(stage, Dpo) else 1  # conversations a row makes
    findings = judged(of_tokens, recipe.audit, lambda row: str(rows.origin(row // each)))
    of_texts = judged(_of_texts(rows, recipe.seed), recipe.audit, lambda row: str(rows.origin(row)))
    return Audited(
        stage=stage.name,
        source=describe(stage.data),
        said=rows.said,
        rows=len(rows),
        findings=(*findings, *of_texts, *_overlaps(recipe, stage, rows, held_out)),
        lengths=lengths,
        limit=_limit(stage) if lengths else None,
        notes=tuple(_notes(tokenizer)) if tokenizer else (),
    )


def _of_texts(rows: Examples[Any], seed: int) -> Iterator[Measured]:
    total = len(rows)
    yield Measured(
        "refused_rows", rows.refused.count, rows.refused.read, more=rows.refused.summary()
    )
    yield duplicates(_texts(rows, "duplicates"), total)
    yield damaged(_texts(rows, "encoding"), total)
    chosen = sample(total, seed, LOOKED_AT)
    few = list(_texts(rows.select(chosen), "near-duplicates"))
    found = near_duplicates(few, total, seed)
    yield Measured(
        found.check, found.count, found.of, [chosen[row] for row in found.rows], more=found.more
    )
    if rows.kind is Pair:
        yield length_bias(rows)


def _texts(rows: Iterable[Any], title: str) -> Iterator[tuple[str, str]]:
    total = len(rows)  # type: ignore[arg-type]
    shown = tqdm(rows, total=total, desc=title, unit="row", disable=None, leave=False)
    return map(parts, shown)


def _overlaps(
    recipe: Recipe, stage: Stage, rows: Examples[Any], held_out: dict[str, HeldOut]
) -> Iterator[Finding]:
    for name, evaluation in held_out.items():
        both = _texts(rows, f"overlap with {name}")
        training = (text for asked, answered in both for text in (f"{asked}\n{answered}", asked))
        found = overlap(evaluation.asked, training)
        yield from judged([found], recipe.audit, _place(evaluation.rows))


def _place(rows: Examples[Any]) -> Callable[[int], str]:
    return lambda row: str(rows.origin(row))


def _evaluations(recipe: Recipe) -> Iterator[tuple[str, HeldOut]]:
    """The rows of the recipe's evaluations by the name of the score."""
    for stage in recipe.stages:
        for score in getattr(stage, "tasks", ()):
            if found := _held_out(score):
                yield f"{stage.name}.{score.name or score.task}", found


def _held_out(score: Score) -> HeldOut | None:
    if scored.is_written(score):
        task, rows = scored.written(score), scored.examples(score)[: score.rows]
        asked = (task.prompt(row) for row in rows)
        return HeldOut(
            rows, tuple(each if isinstance(each, str) else joined(each) for each in asked)
        )
    if score.task in scored.LIKELY and score.data is not None:
        known = scored.LIKELY[score.task].examples(score.data)[: score.rows]
        return HeldOut(known, tuple("\n".join(filter(None, parts(row))) for row in known))
    return None


def _encoded(base: Base, stage: Any, rows: Examples[Any], folder: Path) -> Any:
    """Token ids as the stage makes them; None where they need a tokenizer that is yet to be."""
    if base.model is None or isinstance(stage, Pretrain):
        return None
    mask = stage.mask if isinstance(stage, Sft) else "last_turn"
    talks: Any = rows if isinstance(stage, Sft) else _Answers(rows)
    return encode_rows(
        _tokenizer(base),
        talks,
        _limit(stage),
        mask=mask,
        file=folder / "rows.arrow",
        title=f"{stage.name}: tokens",
    )


def sample(total: int, seed: int, most: int) -> list[int]:
    """Numbers of the rows to look at, in order."""
    if total <= most:
        return list(range(total))
    return sorted(random.Random(seed).sample(range(total), most))


class _Answers:
    """Both conversations of every pair, one after the other."""

    def __init__(self, rows: Examples[Pair]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return 2 * len(self.rows)

    def __iter__(self) -> Iterator[Conversation]:
        for pair in self.rows:
            for talk in answered(pair):
                yield Conversation(talk, pair.tools)

    def __getitem__(self, index: int) -> Conversation:
        pair = self.rows[index // 2]
        return Conversation(answered(pair)[index % 2], pair.tools)


def _limit(stage: Any) -> int | None:
    limit: int | None = stage.train.get("max_length", 1024)
    return limit


def _tokenizer(base: Base) -> Any:
    return load_tokenizer(base)[0]


def _notes(tokenizer: Any) -> Iterator[str]:
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        yield (
            "the padding token is the end token: harmless here, since padding is masked by its "
            "place, so the end of answers is learnt still"
        )
