"""One function in a process of its own, so that nothing of a stage lives on in memory.

Without an accelerator the process is forked: the ten seconds of importing torch and TRL are paid
once, in the parent, which computes nothing and starts no threads. CUDA does not survive a fork,
so with an accelerator each process starts afresh.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal

from finetune import console, ranks
from finetune.chain import mishap
from finetune.errors import FinetuneError

PACKAGE = Path(__file__).parents[1]
SOFT_SECONDS = 10.0
HARD_SECONDS = 5.0
# Time for the rank that failed to tell why, before another tells that it has lost it.
CAUSE_SECONDS = 3.0
ENDING = (signal.SIGINT, signal.SIGTERM)
ENDS = "ends with exit code "  # the last line below a traceback


@dataclass(frozen=True)
class Reply:
    """What a process sends back: a value, or an error."""

    value: Any = None
    error: FinetuneError | None = None
    known: bool = True  # the error has a remedy; without one the traceback is all there is
    first: bool = True  # no other rank has told an error before
    stopped: bool = False


def method() -> Literal["fork", "spawn"]:
    """How processes are started here."""
    return "fork" if sys.platform == "linux" and not has_accelerator() else "spawn"


def has_accelerator() -> bool:
    """Whether a GPU is there, told by device files: asking CUDA would start it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    if ranks.keep_to_cpu() or visible == "" or visible.startswith("-1"):
        return False
    return any(Path(f"/dev/{name}").exists() for name in ("nvidia0", "nvidiactl", "kfd", "dxg"))


def call(function: Callable[..., Any], *args: Any, folder: Path, trace: Path) -> Reply:
    """Run a function in its own process and wait for it; `trace` is written when it fails.

    Ctrl-C is passed on once; a process that does not stop in time is ended.
    """
    context: Any = multiprocessing.get_context(method())
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_main, args=(sender, function, args, (folder, trace), os.getpid())
    )
    try:
        with _signals_wait():
            process.start()
            sender.close()
        reply = _wait(process, receiver, trace)
        if reply.stopped:
            raise KeyboardInterrupt
        return reply
    except KeyboardInterrupt:
        _stop(process)
        raise
    finally:
        if process.pid is not None:
            _join(process)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Within it Ctrl-C and SIGTERM are noted; they do what they do afterwards.

    In the moment of a fork Python runs functions of its libraries (`logging`), and an exception
    that a signal raises in one of them is lost. To block signals is not enough: another thread may
    take them, and Python runs their handlers in the main one all the same. The child needs them
    blocked: what it is sent waits until it has handlers of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []
    before = {each: signal.signal(each, lambda came, _: noted.append(came)) for each in ENDING}
    _block(signal.SIG_BLOCK)
    try:
        yield
    finally:
        _block(signal.SIG_UNBLOCK)
        for each, handler in before.items():
            signal.signal(each, handler or signal.SIG_DFL)
    for number in noted:
        signal.raise_signal(number)


def _block(how: int) -> None:
    if sys.platform != "win32":
        signal.pthread_sigmask(how, ENDING)


def _wait(process: Any, receiver: Connection, trace: Path) -> Reply:
    # Looked at twice a second as well: grandchildren may hold our ends of the pipes open.
    while not receiver.poll() and process.is_alive():
        wait([receiver, process.sentinel], timeout=0.5)
    try:
        if receiver.poll():
            return receiver.recv()
    except EOFError:
        pass
    process.join()
    error = _died(process.exitcode or 0)
    return Reply(error=error, first=_write_first(trace, f"{error.what}\n", error))


def _died(code: int) -> FinetuneError:
    if code < 0:
        return mishap.killed(-code)
    return FinetuneError(f"its process ended with exit code {code} and without a word")


def _stop(process: Any) -> None:
    """Ask, then insist; a second Ctrl-C insists at once."""
    try:
        if process.is_alive():
            os.kill(process.pid, signal.SIGINT)
        process.join(SOFT_SECONDS)
    except KeyboardInterrupt:
        console.say("stopping at once")
    _join(process, 0.0)


def _join(process: Any, patience: float = 30.0) -> None:
    process.join(patience)
    for end in (process.terminate, process.kill):
        if process.is_alive():
            end()
            process.join(HARD_SECONDS)


def _main(
    sender: Connection,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    places: tuple[Path, Path],
    parent: int,
) -> None:
    die_with(parent, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, _interrupt_once)
    if not ranks.is_main():
        _silence()
    try:
        _block(signal.SIG_UNBLOCK)
        reply = Reply(value=function(*args))
        for each in ENDING:  # the work is done: it is told
            signal.signal(each, signal.SIG_IGN)
    except KeyboardInterrupt:
        reply = Reply(stopped=True)
    except BaseException as error:
        reply = _told(error, *places)
    sender.send(reply)
    sender.close()


def _told(error: BaseException, folder: Path, trace: Path) -> Reply:
    known = mishap.translate(error, folder)
    if mishap.of_another_rank(error):
        time.sleep(CAUSE_SECONDS)
    told = known or mishap.unexpected(error, _own_frame(error))
    first = _write_first(trace, traceback.format_exc(), told)
    return Reply(error=told, known=known is not None, first=first)


def _write_first(trace: Path, text: str, error: FinetuneError) -> bool:
    """Write the traceback; False when another rank was first, whose error caused this one.

    This error then ends with the exit code of that one: on another machine nobody else knows it.
    """
    try:
        with trace.open("w" if ranks.world_size() == 1 else "x", encoding="utf-8") as stream:
            stream.write(f"{text}{ENDS}{error.code}\n")
    except FileExistsError:
        with suppress(OSError):
            found = trace.read_text("utf-8").rpartition(ENDS)[2].strip()
            error.code = int(found) if found.isdecimal() else error.code
        return False
    except OSError:
        pass  # the message matters more than the file
    return True


def _interrupt_once(number: int, frame: Any) -> None:
    # The terminal signals every process and the parent passes its signal on: one is enough.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def die_with(parent: int, how: signal.Signals) -> None:
    """Have the system send this process a signal when its parent is killed (Linux)."""
    if sys.platform != "linux":
        return
    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, int(how))
    if os.getppid() != parent:
        os._exit(1)


def _silence() -> None:
    """Other ranks say nothing; their errors go through the pipe."""
    with Path(os.devnull).open("w", encoding="utf-8") as nothing:
        for stream in (1, 2):
            os.dup2(nothing.fileno(), stream)


def _own_frame(error: BaseException) -> str:
    """The last line of this package that the error went through, else the last of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [  # the chain only calls; it is never where a stage failed
        each
        for each in frames
        if Path(each.filename).is_relative_to(PACKAGE)
        and not Path(each.filename).is_relative_to(PACKAGE / "chain")
    ]
    for each in own[-1:] or frames[-1:]:
        path = Path(each.filename)
        short = path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else path.name
        return f"{short}:{each.lineno} in {each.name}"
    return ""
