"""The report that every run leaves behind, whatever became of the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune import ranks
from finetune.chain import journal
from finetune.chain.files import shown
from finetune.chain.plan import store_of
from finetune.console import say, warn
from finetune.recipe.types import Recipe


@contextmanager
def leaving_report(recipe: Recipe) -> Iterator[None]:
    """Write the report of the run that happens inside; one that never began gets none."""
    folder = store_of(recipe).folder
    before = journal.read(folder)
    try:
        yield
    except BaseException:
        if journal.read(folder) != before and (file := _write(folder)):
            say(f"what there is so far: {shown(file)}")
        raise
    _write(folder)


def _write(folder: Path) -> Path | None:
    if not ranks.is_main():
        return None
    from finetune.report.run_page import report

    try:
        return report(folder)
    except Exception as error:  # no fault of a report is worth a run
        warn(f"the report was not written ({type(error).__name__}: {error})")
        return None
