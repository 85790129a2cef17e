"""What the machine can do to a run, told as errors that name the way out."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune.errors import AGAIN, FinetuneError, StoreError

FULL = {errno.ENOSPC, errno.EDQUOT}
LESS_MEMORY = (
    "Shorten train.max_length, set train.gradient_checkpointing or base.quantization, or take a "
    "smaller base."
)

# What safetensors and torch say of a file that they cannot write to its end.
CUT = ("No space left on device", "PytorchStreamWriter failed writing", ". unexpected pos ")

UNBUILT = "op, which failed to build/load"  # DeepSpeed, of what it compiles at first use

# What gloo and NCCL say when another rank is gone.
LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process")

# What drivers of GPUs say of a program's own mistakes, which come again on any of them.
OF_PROGRAMS = (
    *("device-side assert", "no kernel image", "not supported", "_not_supported"),
    *("invalid argument", "invalid configuration", "invalid device", "invalid_value"),
)


@contextmanager
def folder_errors(folder: Path) -> Iterator[None]:
    """Turn what the system says about a run's folder into a `StoreError`."""
    try:
        yield
    except OSError as error:
        raise folder_error(error, folder) from error


def folder_error(error: OSError, folder: Path) -> StoreError:
    """The system's refusal with its remedy."""
    if error.errno in FULL:
        return full(folder)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        what, remedy = "cannot be written to", "Give a folder of yours with output_dir=..."
    elif error.errno in (errno.ENOTDIR, errno.EEXIST):
        what = "is not a folder"
        remedy = "Move the file away, or give another folder with output_dir=..."
    else:
        what, remedy = f"cannot be used ({error.strerror or error})", "Give another output_dir=..."
    return StoreError(f"the run folder {what}", where=str(folder), remedy=remedy)


def full(folder: Path) -> StoreError:
    """No space left."""
    return StoreError(
        "the disk is full",
        where=str(folder),
        remedy="Free some space, or give a folder on another disk with output_dir=...; "
        "the next run goes on from here.",
    )


def translate(error: BaseException, folder: Path) -> FinetuneError | None:
    """A library's exception as an error with a remedy; None when it is none we know."""
    if isinstance(error, FinetuneError):
        return error
    text = str(error)
    if (isinstance(error, OSError) and error.errno in FULL) or any(sign in text for sign in CUT):
        return full(folder)
    if _is_out_of_memory(error, text):
        line = _first_line(text)
        what = f"out of memory ({line})" if line else "out of memory"
        return FinetuneError(what, remedy=LESS_MEMORY)
    if of_another_rank(error):
        return FinetuneError(
            f"the connection to another process was lost ({_first_line(text)})",
            remedy="A process or machine went away; run again to go on from the last checkpoint.",
            code=AGAIN,
        )
    if _is_of_the_gpu(error, _first_line(text)):
        return FinetuneError(
            f"the GPU or its driver failed ({_first_line(text)})",
            remedy="Run again to go on from the last checkpoint; if it comes again, take another "
            "GPU (`nvidia-smi` and the system's log, under Xid, tell of this one).",
            code=AGAIN,
        )
    return _unbuilt(text) if UNBUILT in text else None


def _unbuilt(text: str) -> FinetuneError:
    return FinetuneError(
        f"DeepSpeed could not compile its optimizer ({_first_line(text)})",
        remedy="What the compiler said is in the traceback. --launch zero3 compiles nothing.",
    )


def of_another_rank(error: BaseException) -> bool:
    """Whether this error only tells that another rank has gone (gloo, NCCL, their store)."""
    if type(error).__name__ in ("DistNetworkError", "DistStoreError"):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(sign in text for sign in LOST)


def killed(signal_number: int) -> FinetuneError:
    """A stage's process that ended without a word; the exit code is a shell's for the signal."""
    code = 128 + signal_number
    if signal_number == 9:
        return FinetuneError(
            "its process was killed from outside (SIGKILL), most often by the system for want "
            "of memory",
            remedy=LESS_MEMORY,
            code=code,
        )
    return FinetuneError(
        f"its process ended by signal {signal_number}",
        remedy="A native library crashed; its versions are in the records (`finetune show`).",
        code=code,
    )


def unexpected(error: BaseException, frame: str) -> FinetuneError:
    """Any other exception: what it is and the last of our own lines it went through."""
    line = _first_line(str(error))
    what = f"{type(error).__name__}: {line}" if line else type(error).__name__
    return FinetuneError(f"{what} (at {frame})" if frame else what)


def _is_out_of_memory(error: BaseException, text: str) -> bool:
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in text
        or "can't allocate memory" in text
        or "CUBLAS_STATUS_ALLOC_FAILED" in text
    )


def _is_of_the_gpu(error: BaseException, line: str) -> bool:
    """Whether the first line (others only advise) tells of a failure that another GPU may not have.

    A GPU that falls off the bus, its memory's errors, and what a crashed driver answers.
    """
    told = line.lower()
    failed = isinstance(error, RuntimeError) and ("cuda error" in told or "hip error" in told)
    return failed and not any(sign in told for sign in OF_PROGRAMS)


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0][:200] if lines else ""
