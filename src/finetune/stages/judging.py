"""Answers of all models put before a judge, and its replies put into a file for scoring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from finetune.console import say
from finetune.data.shorten import shortened_note
from finetune.errors import FinetuneError
from finetune.judging.asking import Judging, ask
from finetune.judging.cache import Cache
from finetune.judging.endpoint import Endpoint
from finetune.judging.local import Local
from finetune.models.tokenizers import load_tokenizer
from finetune.recipe.judging import Judge, Rubric
from finetune.recipe.types import Evaluate, Score, base_of
from finetune.scoring import files
from finetune.scoring.score import prompt_text
from finetune.stages.measuring import Written
from finetune.tasks import rubrics
from finetune.tasks.base import Row
from finetune.tasks.judged import Judged as Task

CACHE = "judge-replies.jsonl"  # in the run's folder: stages and later runs share it


class Judged(Written):
    """What a model writes after each prompt, and what a judge says of it."""

    def __init__(self, score: Score, stage: Evaluate, seed: int) -> None:
        super().__init__(score, stage)
        assert isinstance(self.task, Task)
        assert score.judge is not None, "the recipe's check wants one"
        self.rubric: Rubric = self.task.rubric
        self.judge: Judge = score.judge
        self.asked: Endpoint | Local = (
            Endpoint(self.judge, seed)
            if self.judge.endpoint
            else Local(self.judge, stage.batch_size)
        )

    def check(self) -> None:
        """Find out before the first stage whether the rows and a local judge will do.

        Raises:
            FinetuneError: prompts to go on with are no plain texts, or a tokenizer cannot be read.
        """
        if self.rubric.continues:
            for row in self.rows:
                self._beginning(row)
        if not self.judge.endpoint:
            load_tokenizer(base_of(self.judge))

    def write(self, folder: Path, names: Sequence[str]) -> None:
        """Predictions first, then the judge's replies to them."""
        super().write(folder, names)
        plan = list(self._questions(names))
        judge: Judging = self.asked
        found = ask(
            judge,
            [question for _, _, question in plan],
            has_form=partial(rubrics.has_form, self.rubric),
            reminder=rubrics.reminder(self.rubric),
            cache=Cache(folder.parent / CACHE, self.asked.identity),
            title=f"{self.score.name}, judge",
        )
        say(f"  {self.score.name}: {found.asked} replies of the judge, {found.kept} from before")
        replies: list[dict[str, list[list[str]]]] = [{} for _ in self.rows]
        for (row, name, _), given in zip(plan, found.replies, strict=True):
            replies[row].setdefault(name, []).append(given)
        lines = ({"replies": each} for each in replies)
        files.write_lines(folder / f"replies-{self.score.name}.jsonl", lines)
        self._note(found.replies)

    def _questions(self, names: Sequence[str]) -> Iterator[tuple[int, str, str]]:
        """(row, model, question); of a pair, two: the model's answer stands first, then second."""
        rubric, against = self.rubric, str(self.score.against)
        for number, row in enumerate(self.rows):
            prompt = prompt_text(self.task.prompt(row))
            texts = {name: self.answers[name][number].text for name in names}
            for name, text in texts.items():
                if not rubric.is_pairwise:
                    yield number, name, rubrics.question(rubric, prompt, text)
                elif name != against:
                    other = texts[against]
                    yield number, name, rubrics.comparison(rubric, prompt, text, other)
                    yield number, name, rubrics.comparison(rubric, prompt, other, text)

    def _note(self, replies: Sequence[Sequence[str]]) -> None:
        wrong = sum(not rubrics.has_form(self.rubric, given[-1]) for given in replies)
        if wrong:
            self.notes.append(
                f"{wrong} of {len(replies)} replies of the judge had the wrong form twice; their "
                "rows count for no model"
            )
        long = sum(len(a.text) > rubrics.LONGEST for each in self.answers.values() for a in each)
        if long:
            self.notes.append(f"{long} answers were shown to the judge cut to {rubrics.LONGEST} "
                              "characters")  # fmt: skip
        if isinstance(self.asked, Local):
            asked = sum(map(len, replies))
            self.notes += shortened_note(self.asked.shortened, asked, self.asked.room)

    def _prompt(self, tokenizer: Any, row: Row, room: int | None) -> tuple[list[int], bool]:
        if not self.rubric.continues:
            return super()._prompt(tokenizer, row, room)
        start = tokenizer.bos_token_id
        prefix = tokenizer.eos_token_id if start is None else start
        ids = [prefix, *tokenizer(self._beginning(row), add_special_tokens=False)["input_ids"]]
        return (ids, False) if room is None or len(ids) <= room else (ids[-room:], True)

    def _beginning(self, row: Row) -> str:
        text = self.task.prompt(row)
        if isinstance(text, str):
            return text
        raise FinetuneError(
            "a rubric with `continues` wants prompts that are plain texts, not messages",
            where=f"{self.stage.name}: {self.score.name}",
            remedy="Give rows with a text as `prompt`, or set `continues: false`.",
        )
