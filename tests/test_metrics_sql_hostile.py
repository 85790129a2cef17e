"""Five hundred statements that write, read files, loop or take all memory: none gets through."""

from __future__ import annotations

import hashlib
import resource
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hostile_sql import statements

from finetune.metrics.sql_exact_set_match import scoring as exact_set_match
from finetune.metrics.sql_execution.sandbox import Limits
from finetune.metrics.sql_execution.scoring import score_rows
from finetune.metrics.sql_execution.worker import Worker
from finetune.tasks.sql_scores import describe

LIMITS = Limits(steps=300_000, seconds=0.2)
LATE = 3.0  # seconds past the limit: the grace, a new process, and other programs on the machine
MEMORY = 200 * 2**20
WORKERS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "aside").mkdir()
    with closing(sqlite3.connect(folder / "shop.sqlite")) as connection:
        connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price REAL)")
        rows = [(n, f"item {n}", n / 10) for n in range(50)]
        connection.executemany("INSERT INTO item VALUES (?, ?, ?)", rows)
        connection.commit()
    return folder


def content(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Watched(Worker):
    """A worker that knows how much memory its processes have had at most."""

    peak = 0

    def _end(self):
        self.look()
        super()._end()

    def look(self):
        status = Path(f"/proc/{self._process.pid}/status") if self._process else None
        if status and status.is_file():
            lines = [each for each in status.read_text().split("\n") if each.startswith("VmHWM")]
            self.peak = max([self.peak, *(int(line.split()[1]) * 1024 for line in lines)])


def run_all(database, texts):
    """Outcome and seconds of each, and the most memory that a process had."""
    found = []
    with Watched() as worker:
        for text in texts:
            began = time.monotonic()
            outcome = worker.run(database, text, LIMITS)
            found.append((text, outcome, time.monotonic() - began))
            worker.look()
    return found, worker.peak


def test_there_are_five_hundred_and_no_two_are_the_same():
    assert len(set(statements("/aside"))) >= 500


@pytest.mark.heavy
def test_no_statement_writes_lasts_or_takes_memory(folder):
    texts = statements(str(folder / "aside"))
    database, before = folder / "shop.sqlite", content(folder)
    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with ThreadPoolExecutor(WORKERS) as pool:
        shares = [texts[number::WORKERS] for number in range(WORKERS)]
        parts = list(pool.map(lambda share: run_all(database, share), shares))
    assert content(folder) == before
    late = [
        (text[:80], seconds)
        for part, _ in parts
        for text, _, seconds in part
        if seconds > LIMITS.seconds + LATE
    ]
    assert not late
    assert max(peak for _, peak in parts) < MEMORY
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - here < WORKERS * MEMORY
    statuses = {outcome.status for part, _ in parts for _, outcome, _ in part}
    assert statuses == {"ok", "error", "over_limit", "timeout"}


@pytest.mark.heavy
def test_no_statement_stops_the_evaluation_or_spoils_the_next_row(folder):
    texts = statements(str(folder / "aside"))
    gold = "SELECT name FROM item WHERE id < 3"
    predictions = [each for text in texts[::4] for each in (text, gold)]
    count = len(predictions)
    scores = score_rows(predictions, [gold] * count, [folder / "shop.sqlite"] * count, LIMITS)
    assert {each["execution_accuracy"] for each in scores[1::2]} == {100}
    assert {each["execution_accuracy"] for each in scores[::2]} == {0}


@pytest.mark.heavy
def test_every_statement_can_be_compared_clause_by_clause(folder):
    texts = statements(str(folder / "aside"))
    (description,) = describe([folder / "shop.sqlite"], Limits())
    gold = ["SELECT name FROM item WHERE id < 3"] * len(texts)
    assert set(exact_set_match.score_rows(texts, gold, [description] * len(texts))) == {0}
