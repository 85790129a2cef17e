"""What several tests share: real data where it is present, and tiny random models."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Threads of tiny models wait for each other longer than they compute, the more so beside other
# programs; set before torch is imported, and inherited by every program that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).parents[1]
TEXT = [
    "Noor asks Ivan whether the parcel came to the neighbour. The lamp is red, its price 12.50.",
    "SELECT name FROM lamp WHERE colour = 'red' ORDER BY price DESC LIMIT 3",
    "We moved the meeting from Monday to Tuesday since half of the team is on a train.",
]


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Real data sets and a real small model, where this machine has them."""
    default = REPOSITORY.parent / "shared" / "realdata"
    folder = Path(os.environ.get("FINETUNE_REALDATA", default))
    if not folder.is_dir():
        pytest.skip("no real data here: set FINETUNE_REALDATA to its folder")
    return folder


SHAPES = {
    "mistral": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    },
    "mpt": {"d_model": 64, "n_heads": 4, "n_layers": 2, "max_seq_len": 256, "expansion_ratio": 2},
}


@pytest.fixture(scope="session", params=sorted(SHAPES))
def random_base(request, tmp_path_factory) -> Path:
    """Folder of a tiny base with random weights, tokenizer and chat template."""
    return make_base(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def random_mistral(tmp_path_factory) -> Path:
    """The Mistral among the tiny random bases."""
    return make_base("mistral", tmp_path_factory.mktemp("mistral"))


def make_base(kind: str, folder: Path) -> Path:
    """Write a base of random weights in the shape of `kind`."""
    from finetune.models.load import new_base
    from finetune.models.tokenizers import train_tokenizer
    from finetune.recipe.types import Base

    tokenizer = train_tokenizer(TEXT * 9, 400, {"mistral": "mistral", "mpt": "chatml"}[kind])
    model = new_base(Base(config={"model_type": kind, **SHAPES[kind]}), len(tokenizer), seed=1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
