"""What several tests share: real data where it is present, and tiny random models."""

from __future__ import annotations

import gc
import os
import signal
import sys
from functools import cache
from pathlib import Path

import pytest
import shapes
import small_stages

from finetune import garbage

# Threads of tiny models wait for each other longer than they compute, the more so beside other
# programs; set before torch is imported, and inherited by every program that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts this in the background has its programs deaf to Ctrl-C; ours must hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).parents[1]
WORKERS = 8
MEMORY = 4e9  # of a worker with the programs that its tests start
# Two ranks keep two cores busy; two such tests beside each other would have four.
SEVERAL_RANKS = {
    *("test_chain_ranks", "test_launch_cluster", "test_launch_ranks", "test_launch_shards"),
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """As many as there are cores and memory for, 8 at most: each imports torch for itself."""
    from finetune.memory.machine import available

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(WORKERS, cores or 1, int((available() or MEMORY) / MEMORY)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests go to one worker, which builds their fixtures once; so do those of ranks."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = Path(super()._split_scope(nodeid)).stem
            return "several ranks" if file in SEVERAL_RANKS else file

    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items) -> None:
    """What takes longest goes first, so that no worker waits for it at the end."""
    items.sort(key=lambda item: item.path.stem not in SEVERAL_RANKS)


@pytest.fixture(scope="session")
def seen() -> dict[str, int]:
    """How many modules there were at the last look."""
    return {"modules": 0}


@pytest.fixture(autouse=True)
def imports_are_spared(seen) -> None:
    """`gc.collect` looks through the libraries for half a second, and trainers call it."""
    if len(sys.modules) > seen["modules"] + 50:
        seen["modules"] = len(sys.modules)
        gc.collect()
        garbage.spare_for_good()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory) -> None:
    """Filled copies of databases are made anew, not taken from the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def plans_without_memory(monkeypatch) -> None:
    """`finetune plan` says nothing of memory, for which it imports torch: tests of that call it."""
    monkeypatch.setattr("finetune.commands.plan._memory", lambda *_: "")


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Real data sets and a real small model, where this machine has them."""
    default = REPOSITORY.parent / "shared" / "realdata"
    folder = Path(os.environ.get("FINETUNE_REALDATA", default))
    if not folder.is_dir():
        pytest.skip("no real data here: set FINETUNE_REALDATA to its folder")
    return folder


# Wider than the shapes of `shapes.py`, for tests that train until something is learnt.
WIDER = {
    "mistral": {"hidden_size": 64, "intermediate_size": 128},
    "mpt": {"d_model": 64, "expansion_ratio": 2},
}


@pytest.fixture(scope="session", params=sorted(WIDER))
def random_base(request, tmp_path_factory) -> Path:
    """Folder of a tiny base with random weights, tokenizer and chat template."""
    return shapes.make_base(
        request.param, tmp_path_factory.mktemp(request.param), **WIDER[request.param]
    )


@pytest.fixture(scope="session")
def random_mistral(tmp_path_factory) -> Path:
    """The Mistral among the tiny random bases."""
    return shapes.make_base("mistral", tmp_path_factory.mktemp("mistral"), **WIDER["mistral"])


@pytest.fixture(scope="session")
def bases(tmp_path_factory):
    """Folder of each small shape's base, written when it is first asked for."""
    return cache(lambda kind: shapes.make_base(kind, tmp_path_factory.mktemp(kind)))


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    """Folder of a few answers and pairs."""
    return small_stages.write_rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="session")
def quiet():
    """The libraries say nothing beside the matter, as in the stages' own processes."""
    from finetune.stages.quiet import hush

    hush()
