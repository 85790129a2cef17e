"""The caller's side of the sandbox: a process that can be killed when a query does not end.

SQLite looks at its limits between steps, and one step can take minutes (`instr` on long texts);
only the end of the process ends those, and a crash in it costs one query.
"""

from __future__ import annotations

import marshal
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from finetune.metrics.sql_execution.describe import Description, described
from finetune.metrics.sql_execution.sandbox import Database, Limits, Outcome
from finetune.metrics.sql_execution.serve import Request, describing, opening, running, send

_ROOT = str(Path(__file__).parents[3])
_START = (
    f"import sys; sys.path.insert(0, {_ROOT!r}); "
    "from finetune.metrics.sql_execution.serve import main; main()"
)
_GRACE = 0.5  # seconds past its own limit before the process is killed


class Worker:
    """Runs queries one after the other; `with Worker() as worker: worker.run(…)`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._database: Database | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def run(self, database: Database, query: str, limits: Limits) -> Outcome:
        """The outcome of one query, always within its seconds and a little grace.

        A database stays open until another is asked for, so queries on the same one belong
        one after the other.
        """
        try:
            status, rows, message, columns = self._ask(
                database, running(query, limits), limits.seconds
            )
        except TimeoutError:
            return Outcome("timeout", message="one step of the query did not end")
        except EOFError:
            return Outcome("over_limit", message="the query ended the process that ran it")
        return Outcome(status, rows, message, columns)

    def describe(self, database: Database, limits: Limits) -> Description | str:
        """What the database is made of, or why that cannot be told."""
        try:
            status, values, message = self._ask(database, describing(limits), limits.seconds)
        except (TimeoutError, EOFError):
            return "it could not be read within the limits"
        return described(values) if status == "ok" else message

    def _ask(self, database: Database, request: Request, seconds: float) -> Any:
        """The answer to a request; the process is gone after an error.

        Raises:
            TimeoutError: the answer has not come in time.
            EOFError: the process has ended.
        """
        process = self._process = self._process or _started()
        assert process.stdin and process.stdout, "both are pipes"
        try:
            if database != self._database:
                send(process.stdin, opening(database))
                self._database = database
            send(process.stdin, request)
            return marshal.loads(_receive(process.stdout.fileno(), seconds + _GRACE))
        except TimeoutError:
            self._end()
            raise
        except (BrokenPipeError, EOFError) as error:
            self._end()
            raise EOFError from error

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = self._database = None


def _started() -> subprocess.Popen[bytes]:
    # -I and -S: nothing of the user's site or environment, which also starts in 20 ms.
    command = [sys.executable, "-I", "-S", "-c", _START]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def _receive(pipe: int, seconds: float) -> bytes:
    """One message that the other side has written.

    Raises:
        TimeoutError: it has not come whole in time.
        EOFError: the other side is gone.
    """
    deadline = time.monotonic() + seconds
    size = int.from_bytes(_read(pipe, 8, deadline), "big")
    return bytes(_read(pipe, size, deadline))


def _read(pipe: int, size: int, deadline: float) -> bytearray:
    data = bytearray()
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    while len(data) < size:
        if not waiting.poll(1000 * max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        part = os.read(pipe, min(size - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return data
