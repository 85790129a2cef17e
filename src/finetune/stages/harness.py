"""Tasks of lm-evaluation-harness (the extra `harness`), run on the models of an evaluation."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from finetune.data.examples import Examples
from finetune.errors import FinetuneError
from finetune.ranks import is_main
from finetune.recipe.problems import near
from finetune.recipe.types import Data, Evaluate, Score
from finetune.scoring import files

LIBRARY = "lm_eval"


class Harness:
    """One task, or group of tasks, by the library's `simple_evaluate`.

    It takes an opened model as a single process's, so that rank 0 works while the others wait.
    """

    def __init__(self, score: Score, stage: Evaluate, seed: int) -> None:
        self.score, self.stage, self.seed = score, stage, seed
        self.data: Data | None = None
        self.examples: Examples[Any] | None = None
        self.notes: list[str] = []
        self.facts: dict[str, Any] = {}
        self.found: dict[str, dict[str, Any]] = {}
        self.tasks = _tasks(score, stage)

    def measure(self, name: str, model: Any, tokenizer: Any) -> None:
        """Run the task on one model."""
        if not is_main():
            return
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM

        found = simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=self.stage.batch_size),
            tasks=[self.score.task],
            task_manager=self.tasks,
            num_fewshot=self.score.num_fewshot,
            limit=self.score.rows,
            apply_chat_template=self.score.apply_chat_template,
            random_seed=self.seed,
            numpy_random_seed=self.seed,
            torch_random_seed=self.seed,
            fewshot_random_seed=self.seed,
        )
        assert found is not None
        self.facts[f"{self.score.name}_lm_eval"] = version(LIBRARY)
        self.found[name] = _kept(self.score.task, found)

    def write(self, folder: Path, names: Sequence[str]) -> None:
        """What the library found, as it says it."""
        found = {name: self.found[name] for name in names}
        files.write_object(folder / f"harness-{self.score.name}.json", found)


def _tasks(score: Score, stage: Evaluate) -> Any:
    """The library's tasks, this one among them.

    Raises:
        FinetuneError: the library is not installed, or has no such task.
    """
    if importlib.util.find_spec(LIBRARY) is None:
        raise FinetuneError(
            f"{score.task!r} is none of finetune's tasks, and lm-evaluation-harness, which may "
            "have it, is not installed",
            where=f"{stage.name}.tasks",
            remedy="Install it: pip install 'finetune[harness]'",
        )
    from lm_eval.tasks import TaskManager

    logging.getLogger(LIBRARY).setLevel(logging.ERROR)
    folder = score.include_path and str(Path(score.include_path).expanduser().resolve())
    tasks = TaskManager(include_path=folder)
    if score.task not in tasks.all_tasks:
        match = near(score.task, tasks.all_tasks)
        raise FinetuneError(
            f"neither finetune nor lm-evaluation-harness has a task {score.task!r}",
            where=f"{stage.name}.tasks",
            remedy=f"Did you mean {match!r}?" if match else "`lm-eval ls tasks` lists them.",
        )
    return tasks


def _kept(task: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers with their standard errors, and the scores of each row where there are such.

    A tag stands for several tasks and has no numbers of its own: those of each are kept.
    """
    names = [task] if task in found["results"] else list(found["results"])
    numbers: dict[str, Any] = {}
    for name in names:
        higher = found.get("higher_is_better", {}).get(name) or {}
        before = "" if name == task else f"{name}/"
        for key, value in found["results"][name].items():
            metric, _, kind = key.partition(",")
            if not kind or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = found["results"][name].get(f"{metric}_stderr,{kind}")
            title = f"{before}{metric}" if kind == "none" else f"{before}{metric}/{kind}"
            numbers[title] = {
                "value": value,
                "stderr": error if isinstance(error, int | float) else None,
                "higher_is_better": higher.get(metric),
                "rows": _rows(found.get("samples", {}).get(name, ()), metric, kind),
            }
    counts = found.get("n-samples", {}).values()
    return {"numbers": numbers, "rows": sum(each["effective"] for each in counts)}


def _rows(samples: Sequence[Mapping[str, Any]], metric: str, kind: str) -> list[float]:
    """A metric of each row; none where it is no number of a row alone."""
    own = [each[metric] for each in samples if each["filter"] == kind and metric in each]
    return [float(each) for each in own] if all(isinstance(x, int | float) for x in own) else []
