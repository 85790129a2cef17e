"""The files of an evaluation, and what stands in them.

    evaluation.json          the stage's settings, so that scoring needs no recipe
    predictions-NAME.jsonl   {row, prompt, references, predictions, tokens, stopped: {model: …}}
    likelihoods-NAME.jsonl   {row, counts, likelihoods: {model: [[nats, tokens], …]}}
    replies-NAME.jsonl       {row, replies: {model: [[of a judge, again if malformed], …]}}
    harness-NAME.json        what lm-evaluation-harness found
    scores-NAME.jsonl        {row, scores: {model: {metric: value}}}
    details-NAME.jsonl       {row, details: {model: {…}}}
    comparison.json          {NAME: {metrics, rows, against, models, pairs, baselines, groups, …}}

The first five are measured with models; the others follow from them (`finetune score`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from finetune.errors import FinetuneError
from finetune.recipe.judging import Judge, Rubric
from finetune.recipe.types import Candidate, Data, Evaluate, Score, SqlSuite

SETTINGS = "evaluation.json"
COMPARISON = "comparison.json"
Line = dict[str, Any]


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """One JSON object per line, numbered by `row` from 0; in place only when whole."""
    beside = path.with_name(f"{path.name}.tmp")
    with beside.open("w", encoding="utf-8") as file:
        for number, line in enumerate(lines):
            file.write(json.dumps({"row": number, **line}, ensure_ascii=False) + "\n")
    beside.replace(path)


def read_lines(path: Path) -> list[Line]:
    """The lines that `write_lines` wrote.

    Raises:
        FinetuneError: the file is missing or no JSON.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def write_object(path: Path, value: Any) -> None:
    """One JSON value, in place only when whole."""
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)


def read_object(path: Path) -> Any:
    """The value that `write_object` wrote.

    Raises:
        FinetuneError: the file is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def comparison(folder: Path) -> dict[str, Any]:
    """The comparison of a finished evaluation, by the name of each task; empty without one."""
    path = folder / COMPARISON
    return read_object(path) if path.is_file() else {}


def write_settings(folder: Path, stage: Evaluate, seed: int) -> None:
    """Keep what scoring must know of the stage."""
    write_object(folder / SETTINGS, {"seed": seed, "stage": asdict(stage)})


def read_settings(folder: Path) -> tuple[Evaluate, int]:
    """The stage and the seed of an evaluation."""
    kept = read_object(folder / SETTINGS)
    try:
        stage = dict(kept["stage"])
        stage["tasks"] = tuple(_score(each) for each in stage["tasks"])
        stage["models"] = tuple(Candidate(**each) for each in stage["models"])
        return Evaluate(**stage), kept["seed"]
    except (TypeError, KeyError) as error:
        raise _unreadable(folder / SETTINGS, error) from error


def _score(kept: dict[str, Any]) -> Score:
    data = Data(**kept["data"]) if kept["data"] else None
    suite = SqlSuite(**kept["suite"]) if kept["suite"] else None
    own: dict[str, Any] = {"data": data, "suite": suite, "metrics": tuple(kept["metrics"])}
    if rubric := kept.get("rubric"):
        own["rubric"] = Rubric(**{**rubric, "aspects": tuple(rubric["aspects"])})
    if judge := kept.get("judge"):
        own["judge"] = Judge(**judge)
    return Score(**{**kept, **own})


def _unreadable(path: Path, error: Exception) -> FinetuneError:
    return FinetuneError(
        f"cannot be read ({type(error).__name__}: {error})",
        where=str(path),
        remedy="It belongs to a finished evaluation of this version of finetune; run the stage "
        "again.",
    )
