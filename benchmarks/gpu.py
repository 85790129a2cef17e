"""One GPU in under nine minutes: speed, use and memory of every stage, beside TRL in the same run.

    python benchmarks/gpu.py                            # Mistral-7B and MPT-7B, on random weights
    python benchmarks/gpu.py --wheels FOLDER            # on top of these wheels
    python benchmarks/gpu.py --shape tiny               # the same code on a CPU, in a few minutes
    python benchmarks/gpu.py --shape mistral-7b --only sft_qlora,dpo --minutes 4

Nothing is downloaded. Each shape's base is made on the device and written once, and every
measurement runs in a process of its own: this project's stage as it comes, TRL as it comes, and
TRL with the options set by hand that help. What fails, or does not end in time, is written down and
the others go on; the file of results is whole after each. docs/results/README.md tells how to read
them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"
SHAPES = ("mistral-7b", "mpt-7b", "tiny-mistral", "tiny-mpt")
GROUPS = {"7b": SHAPES[:2], "tiny": SHAPES[2:]}
WAYS = ("ours", "defaults", "by_hand")
# Seconds that one measurement may take, loading and writing included.
KINDS = {"sft_lora": 75, "sft_qlora": 90, "dpo": 100, "evaluate": 75, "merge": 120}
PREPARE = 150
LEAST = 15  # seconds that have to be left for another one to be begun
NEEDS = 45e9  # bytes on disk: a base of 7B, and one that is merged from it


def main() -> None:
    """Measure what fits into the minutes, and print a table."""
    given = arguments()
    if given.wheels:
        sys.exit(again_with(given.wheels))
    sys.path.insert(0, str(SOURCE))
    shapes = [shape for each in given.shape for shape in GROUPS.get(each, (each,))]
    deadline = time.monotonic() + 60 * given.minutes - 5
    results: dict[str, Any] = {"python": platform.python_version(), "measurements": []}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory(prefix="finetune-gpu-", dir=given.folder or place()) as name,
        Measurer(Path(name)) as measurer,
    ):
        for shape in shapes:
            folder = Path(name) / shape
            folder.mkdir()
            for row in of_shape(shape, given.only, folder, measurer, deadline):
                results["machine"] = row.pop("machine", results.get("machine"))
                results["measurements"].append(row)
                given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
                say(line(row))
            shutil.rmtree(folder)
    say(table(results))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    chosen = [*SHAPES, *GROUPS]
    parser.add_argument("--shape", type=words(chosen), default=["7b"], help=", ".join(chosen))
    parser.add_argument("--only", type=words(KINDS), default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--minutes", type=float, default=8.5, help="in all")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), metavar="FILE")
    parser.add_argument("--folder", type=Path, help="for the bases: 45 GB for those of 7B")
    parser.add_argument("--wheels", default="", metavar="FOLDER", help="to install first")
    return parser.parse_args()


def words(known: Any) -> Any:
    """Names with commas between."""

    def read(text: str) -> list[str]:
        found = text.split(",")
        if unknown := [each for each in found if each not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return found

    return read


def again_with(wheels: str) -> int:
    """Begin again with these wheels before what this Python has.

    In a folder and not in a venv, which would not have what a Python that is a venv itself has.
    """
    files = sorted(map(str, Path(wheels).glob("*.whl")))
    with tempfile.TemporaryDirectory(prefix="finetune-wheels-") as folder:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        subprocess.run([*install, "--target", folder, *files], check=True)
        return subprocess.call(
            [sys.executable, __file__, *sys.argv[1:], "--wheels="],
            env={**os.environ, "PYTHONPATH": paths(folder)},
        )


def paths(*folders: Path | str) -> str:
    """These folders before those of PYTHONPATH."""
    return os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])


def place() -> str | None:
    """Memory that is a disk, where there is enough of it: bases are then read in seconds."""
    from finetune.memory.machine import available

    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > NEEDS
    return str(memory) if roomy and (available() or 0) > 2 * NEEDS else None


def of_shape(shape: str, only: list[str], folder: Path, measurer: Measurer, deadline: float) -> Any:
    """The results of one shape as they come."""
    asked = {"kind": "prepare", "shape": shape, "folder": str(folder)}
    base = measurer.run(asked, PREPARE, deadline)
    yield {"shape": shape, "kind": "prepare", "way": "", **base}
    for kind in only if base["status"] == "ok" else ():
        for way in WAYS:
            if kind == "merge" and way == "by_hand":
                continue  # PEFT's own has no options to set
            out = folder / f"{kind}-{way}"
            out.mkdir()
            spec = {"kind": kind, "way": way, "shape": shape, "out": str(out), **base["made"]}
            found = measurer.run({**spec, "seconds": KINDS[kind] / 3}, KINDS[kind], deadline)
            yield {"shape": shape, "kind": kind, "way": way, **found}
            shutil.rmtree(out)


class Measurer:
    """Processes that measure, one after the other.

    On a GPU the next one imports its libraries while the one before it works, and each measures
    once: CUDA does not survive a fork. On a CPU one process stays, and forks for each.
    """

    def __init__(self, folder: Path) -> None:
        from finetune.chain.child import has_accelerator

        self.folder, self.once = folder, has_accelerator()
        self.log = (folder / "log").open("a+", encoding="utf-8")
        self.waiting: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Measurer:
        self.waiting.append(self._started())
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.waiting:
            end(process)

    def run(self, spec: dict[str, Any], seconds: float, deadline: float) -> dict[str, Any]:
        """What was measured, with its status: ok, failed, late, or not begun for want of time."""
        seconds = min(seconds, deadline - time.monotonic())
        if seconds < LEAST:
            return {"status": "not begun", "error": "the minutes were over"}
        process = self.waiting.pop(0) if self.waiting else self._started()
        if self.once:
            self.waiting.append(self._started())
        at, begun = self.log.seek(0, os.SEEK_END), time.monotonic()
        assert process.stdin
        try:
            process.stdin.write(json.dumps(spec) + "\n")
            process.stdin.flush()
            answer = read_line(process, begun + seconds)
        except BrokenPipeError:
            answer = ""
        except BaseException:
            end(process)
            raise
        took = round(time.monotonic() - begun, 1)
        if answer and not self.once:
            self.waiting.append(process)
        else:
            end(process)
        if answer:
            return {**json.loads(answer), "wall_seconds": took}
        late = took >= seconds
        self.log.seek(at)
        said = self.log.read()[-2000:]
        error = f"stopped after {seconds:.0f} s" if late else f"the process died: {said}"
        return {"status": "late" if late else "failed", "error": error, "wall_seconds": took}

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(HERE / "gpu_measure.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": paths(SOURCE, HERE),
                "TMPDIR": str(self.folder),  # what a killed process leaves goes with the rest
            },
            start_new_session=True,
        )


def read_line(process: subprocess.Popen[str], deadline: float) -> str:
    """The next line that the process writes; empty when it ends, or too much time has passed."""
    assert process.stdout
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        ready = selector.select(max(0.0, deadline - time.monotonic()))
    return process.stdout.readline() if ready else ""


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def say(text: str) -> None:
    """Print now."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def line(row: dict[str, Any]) -> str:
    """One measurement as it ends."""
    told = " ".join(row[name] for name in ("shape", "kind", "way", "status"))
    return f"{told}, {row.get('wall_seconds', 0)} s  {last(row)}"


def last(row: dict[str, Any]) -> str:
    """The last line of what went wrong."""
    return row.get("error", "").strip().rpartition("\n")[2][:100]


COLUMNS = {
    "tokens_per_second": ("tokens/s", "{:.0f}"),
    "mfu": ("MFU %", "{:.1f}"),
    "peak_bytes": ("GPU GB", "{:.2f}"),
    "planned_bytes": ("planned", "{:.2f}"),
    "ram_bytes": ("RAM GB", "{:.2f}"),
    "seconds": ("seconds", "{:.1f}"),
    "loss": ("loss", "{:.3f}"),
}


def table(results: dict[str, Any]) -> str:
    """All of them, a line each."""
    machine = results.get("machine") or {}
    lines = [f"\n{machine.get('device', 'nothing measured')}"]
    head = [title for title, _ in COLUMNS.values()]
    lines.append(f"{'shape':<13}{'what':<10}{'way':<10}" + "".join(f"{each:>10}" for each in head))
    for row in results["measurements"]:
        if row["kind"] == "prepare" and row["status"] == "ok":
            continue
        start = f"{row['shape']:<13}{row['kind']:<10}{row['way']:<10}"
        if row["status"] != "ok":
            lines.append(f"{start}{row['status']}: {last(row)}")
            continue
        values = [
            form.format(row[name] / 1e9 if name.endswith("bytes") else row[name])
            if row.get(name) is not None
            else "-"
            for name, (_, form) in COLUMNS.items()
        ]
        lines.append(start + "".join(f"{each:>10}" for each in values))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
