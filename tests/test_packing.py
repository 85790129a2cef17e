"""Packed rows: what is learnt is what would be learnt of each row alone."""

import flash_stand_in
import pytest
from shapes import make_base

pytestmark = pytest.mark.heavy

TAKEN = ["mistral", "llama", "gpt2", "mpt", "qwen3", "gemma2", "phi3", "gpt_neox", "mixtral"]
FLASH = "flash_attention_2"
SEEN_BY = {
    "mistral": ["sdpa", "eager", FLASH],
    "llama": ["sdpa", "eager", FLASH],
    "gpt2": ["sdpa", "eager"],
    "gemma2": [None, FLASH],
}


@pytest.fixture(autouse=True)
def flash(monkeypatch):
    """FlashAttention by its formula, for transformers' own code around it."""
    flash_stand_in.install(monkeypatch)


def model_of(kind, folder, attention=None):
    from transformers import AutoModelForCausalLM

    base = make_base(kind, folder / kind)
    return AutoModelForCausalLM.from_pretrained(base, attn_implementation=attention).eval()


def some_rows(count=12, seed=0):
    """Rows of random tokens, the second half of each learnt."""
    import random

    import datasets

    generator = random.Random(seed)
    ids = [
        [generator.randrange(9, 250) for _ in range(generator.randint(4, 40))] for _ in range(count)
    ]
    labels = [[-100] * (len(row) // 2) + row[len(row) // 2 :] for row in ids]
    return datasets.Dataset.from_dict({"input_ids": ids, "labels": labels})


def losses(logits, labels):
    """Of every position in float64; labels already ignored count 0."""
    import torch

    return torch.nn.functional.cross_entropy(
        logits[:, :-1].double().transpose(1, 2), labels[:, 1:], ignore_index=-100, reduction="none"
    )


def packed_batch(rows, limit=64, *, flat=False):
    from finetune.data.packing import PackedCollator, pack

    return PackedCollator(0, flat=flat)(list(pack(rows, limit)))


CASES = [(kind, backend) for kind in TAKEN for backend in SEEN_BY.get(kind, [None])]


@pytest.mark.parametrize(("kind", "attention"), CASES)
def test_the_packed_loss_and_gradients_are_those_of_each_row_alone(kind, attention, tmp_path):
    import torch

    from finetune.models.packed import keep_apart, lies_flat

    model, rows = model_of(kind, tmp_path, attention), some_rows()
    alone, gradients = 0.0, {}
    model.zero_grad()
    for row in rows:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        loss = losses(model(input_ids=ids, use_cache=False).logits, labels).sum()
        loss.backward()
        alone += loss.item()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    keep_apart(model, "sft")
    model.zero_grad()
    batch = packed_batch(rows, flat=lies_flat(model))
    hidden = model.base_model(
        input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
    ).last_hidden_state
    logits = model.lm_head(hidden)
    cap = getattr(model.config, "final_logit_softcapping", None)
    logits = cap * torch.tanh(logits / cap) if cap else logits
    loss = losses(logits, batch["labels"]).sum()
    loss.backward()
    learnt = int((batch["labels"] != -100).sum())
    assert abs(loss.item() - alone) / learnt < 1e-5
    for name, parameter in model.named_parameters():
        if name in gradients:
            scale = max(1.0, float(gradients[name].abs().max()))
            assert float((parameter.grad - gradients[name]).abs().max()) / scale < 1e-4, name


@pytest.mark.parametrize(("kind", "attention"), CASES)
def test_another_neighbour_moves_no_logit_of_a_row(kind, attention, tmp_path):
    from finetune.models.packed import keep_apart

    found = keep_apart(model_of(kind, tmp_path, attention), "sft")
    assert found.neighbour == 0
    assert found.alone < 1e-5


def test_a_model_that_would_see_the_neighbour_is_refused(tmp_path, monkeypatch):
    from finetune.errors import FinetuneError
    from finetune.models import packed

    monkeypatch.setattr(packed, "_mask_by_positions", lambda module, args, kwargs: None)
    with pytest.raises(FinetuneError, match="packed rows see each other"):
        packed.keep_apart(model_of("mpt", tmp_path), "sft")


def test_packs_beside_each_other_that_flash_attention_would_not_tell_apart_are_refused(
    tmp_path, monkeypatch
):
    from finetune.errors import FinetuneError
    from finetune.models import packed

    monkeypatch.setattr(packed, "lies_flat", lambda model: False)
    with pytest.raises(FinetuneError, match="packed rows see each other"):
        packed.keep_apart(model_of("llama", tmp_path, FLASH), "sft")


def test_every_row_is_in_one_pack_whole():
    from finetune.data.packing import pack

    rows = some_rows(200)
    found = []
    for packed in pack(rows, 64):
        at = 0
        for length in packed["seq_lengths"]:
            found.append(
                (packed["input_ids"][at : at + length], packed["labels"][at : at + length])
            )
            at += length
        assert at == len(packed["input_ids"]) <= 64
    assert sorted(found) == sorted(zip(rows["input_ids"], rows["labels"], strict=True))


@pytest.fixture
def trained(tmp_path, rows_file):
    """Train one step of plain SGD on all rows; gives the loss before it and the adapter after."""
    from safetensors.torch import load_file

    from finetune.job import Job, ModelRef
    from finetune.recipe.types import Base, Data, Sft
    from finetune.stages import sft

    def train(kind, name, **fields):
        if not (base := tmp_path / kind).exists():
            make_base(kind, base)
        settings = {"learning_rate": 0.5, "max_steps": 1, "max_length": 100, "optim": "sgd"}
        stage = Sft(
            name="sft",
            data=Data(path=str(rows_file)),
            lora={"r": 4},
            **{**fields, "train": {**settings, **fields.get("train", {})}},
        )
        out = tmp_path / name
        out.mkdir()
        job = Job(name=name, out=out, seed=3, model=ModelRef(base=Base(model=str(base))))
        sft.check(stage, job)
        result = sft.run(stage, job)
        weights = load_file(next(out.rglob("adapter_model.safetensors")))
        return result.facts, weights

    return train


@pytest.fixture
def rows_file(tmp_path):
    import json

    file = tmp_path / "rows.jsonl"
    lines = [
        {"prompt": f"Lamp {n}{' please' * (n % 4)}?", "completion": f"price {n * 3}"}
        for n in range(20)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.mark.parametrize("kind", ["mistral", "mpt"])
def test_a_step_over_the_same_rows_is_the_same_packed_by_tokens_and_by_rows(
    kind, trained, monkeypatch
):
    from finetune.stages import batches

    facts, weights = trained(kind, "rows", batch_size=20)
    packs = trained(kind, "count", batch_size=1, train={"packing": True})[0]["packs"]
    assert packs < 10
    ways = {
        "packed": trained(kind, "packed", batch_size=packs, train={"packing": True}),
        "tokens": trained(kind, "tokens", batch_tokens=100_000),
    }
    monkeypatch.setitem(batches.ROWS_AT_ONCE, "cpu", 2)  # several micro-batches to a step
    ways["accumulated"] = trained(kind, "accumulated", batch_tokens=3_000)
    for name, (found, adapter) in ways.items():
        assert found["loss_first"] == pytest.approx(facts["loss_first"], abs=1e-5), name
        for key, value in weights.items():
            assert float((adapter[key] - value).abs().max()) < 1e-6, (name, key)
    moved = max(float(value.abs().max()) for key, value in weights.items() if "lora_B" in key)
    assert moved > 1e-3


def test_packs_that_processes_cannot_share_are_refused_with_the_nearest_numbers_of_tokens(
    monkeypatch,
):
    from pathlib import Path

    from finetune.errors import FinetuneError
    from finetune.job import Job, ModelRef
    from finetune.recipe.types import Base, Data, Sft
    from finetune.stages.layout import _packs_per_step

    job = Job(name="sft", out=Path(), seed=1, model=ModelRef(base=Base(model="m")))

    def packs(batch_tokens, processes):
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        stage = Sft(name="sft", data=Data(path="rows"), batch_tokens=batch_tokens)
        return _packs_per_step(stage, 512, job)

    assert packs(8 * 512 + 300, 4) == 8
    with pytest.raises(FinetuneError, match=r"^sft\.batch_tokens: 5000 tokens are 9 packs of 512,"):
        packs(5000, 4)
    with pytest.raises(FinetuneError, match=r"Nearest that do: 4096 and 6144\.$"):
        packs(5000, 4)
    assert (packs(4096, 4), packs(6144, 4)) == (8, 12)
    with pytest.raises(FinetuneError, match=r"Nearest that do: 2048 and 4096\.$"):
        packs(100, 4)
