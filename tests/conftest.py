"""What several tests share: real data where it is present, and tiny random models."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
import shapes
import small_stages

# Threads of tiny models wait for each other longer than they compute, the more so beside other
# programs; set before torch is imported, and inherited by every program that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).parents[1]


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
