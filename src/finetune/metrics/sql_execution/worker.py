"""The caller's side of the sandbox: a process that can be killed when a query does not end.

SQLite looks at its limits between steps, and one step can take minutes (`instr` on long texts);
only the end of the process ends those, and a crash in it costs one query.
"""

from __future__ import annotations

import marshal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from finetune.metrics.sql_execution.sandbox import Database, Limits, Outcome
from finetune.metrics.sql_execution.serve import receive, request, send

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
        """The outcome of one query, always within its seconds and a little grace."""
        process = self._process = self._process or _started()
        assert process.stdin and process.stdout, "both are pipes"
        late = threading.Event()
        timer = threading.Timer(limits.seconds + _GRACE, _kill, (process, late))
        timer.start()
        try:
            send(process.stdin, request(database, query, limits))
            answer = receive(process.stdout)
        except (BrokenPipeError, UnicodeEncodeError):
            answer = b""
        finally:
            timer.cancel()
        if answer:
            status, rows, message = marshal.loads(answer)
            return Outcome(status, rows, message)
        self._end()
        if late.is_set():
            return Outcome("timeout", message="one step of the query did not end")
        return Outcome("over_limit", message="the query ended the process that ran it")

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _started() -> subprocess.Popen[bytes]:
    # -I and -S: nothing of the user's site or environment, which also starts in 20 ms.
    command = [sys.executable, "-I", "-S", "-c", _START]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def _kill(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()
