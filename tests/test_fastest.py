"""What is chosen where the recipe does not say: the fastest that fits, and the same result."""

import json

import pytest
from shapes import SHAPES
from small_stages import dpo, run, sft

from finetune.job import Job, ModelRef
from finetune.recipe.types import Base

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("quiet")]
TRAIN = {"learning_rate": 1e-2, "num_train_epochs": 2, "logging_steps": 1}


def need(size, again):
    """A row takes 100 bytes, or 20 with its activations computed again."""
    return size * (20 if again else 100)


@pytest.mark.parametrize(
    ("length", "room", "wanted", "chosen"),
    [
        (1000, 1600, None, (16, False)),  # all of it fits
        (1000, 1599, None, (8, False)),  # fewer rows at once cost less than computing twice …
        (1000, 100, None, (1, False)),
        (20, 800, None, (16, True)),  # … but for short rows, which leave a device idle
        (1000, 99, None, (4, True)),
        (1000, 1600, True, (16, True)),  # the recipe wins
        (1000, 320, False, (2, False)),
        (1000, 10, None, (1, True)),  # the least there is
    ],
)
def test_the_fastest_way_that_fits_is_taken(length, room, wanted, chosen):
    from finetune.stages.fastest import fastest

    way = fastest(16, length, need, most=16, wanted=wanted, room=room)
    assert (way.rows_at_once, way.checkpointing) == chosen
    assert ("may not fit" in way.why) == (room == 10)


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_what_is_taken_for_a_bound_is_one(kind):
    from test_memory import lora, real, shape

    from finetune.memory.step import Step, training
    from finetune.stages.fastest import HERE, Batch, at_most

    base, batch = shape(kind), Batch(batch_size=4, length=128, learnt=[40] * 4)
    for configs in ([lora()], []):
        found = training(base, configs, Step(rows=4, length=128, learnt=160))
        model = real(base)
        if configs:
            from peft import get_peft_model

            model = get_peft_model(model, lora())
        assert sum(size for part, size in found.items() if part not in HERE) <= at_most(
            model, batch, 4
        )


@pytest.fixture(scope="module")
def learnt(bases, rows, tmp_path_factory):
    """A base with a trained adapter."""
    base = ModelRef(base=Base(model=str(bases("llama"))))
    return run(sft(rows), base, tmp_path_factory.mktemp("sft")).model


def losses(folder):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [(line["loss"], line["grad_norm"]) for line in lines if "grad_norm" in line]


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_where_memory_is_short_a_step_goes_another_way_to_the_same_result(
    kind, learnt, rows, tmp_path, monkeypatch, capfd
):
    from finetune.stages import fastest

    stage = {"sft": sft, "dpo": dpo}[kind](rows, train=TRAIN)
    wide = run(stage, learnt, tmp_path / "wide" / kind)
    assert "4 " in wide.facts["made_with"] and "checkpointing off" in wide.facts["made_with"]
    monkeypatch.setattr(fastest, "_free", lambda: 200_000)
    tight = run(stage, learnt, tmp_path / "tight" / kind)
    assert tight.facts["made_with"] in capfd.readouterr().err
    assert tight.facts["made_with"].startswith("1 ")
    assert tight.facts["steps"] == wide.facts["steps"]
    pairs = zip(losses(tmp_path / "tight" / kind), losses(tmp_path / "wide" / kind), strict=True)
    for one, other in pairs:
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


def test_a_recipe_that_says_it_has_it_so(learnt, rows, tmp_path, monkeypatch):
    from finetune.stages import fastest

    given_back = []
    monkeypatch.setattr(fastest, "keep_no_freed_blocks", lambda: given_back.append(1))
    train = {**TRAIN, "gradient_checkpointing": True}
    again = run(sft(rows, train=train), learnt, tmp_path / "again" / "sft")
    assert "checkpointing on" in again.facts["made_with"]
    run(sft(rows, train=TRAIN), learnt, tmp_path / "once" / "sft")
    assert given_back == [1]
    pairs = zip(losses(tmp_path / "again" / "sft"), losses(tmp_path / "once" / "sft"), strict=True)
    for one, other in pairs:
        assert one == pytest.approx(other, abs=1e-5)


def test_a_run_that_was_stopped_goes_on_the_way_it_began(learnt, tmp_path, monkeypatch):
    from finetune.models.load import open_model
    from finetune.stages import fastest

    job = Job(name="sft", out=tmp_path, seed=1, model=learnt)
    model = open_model(learnt, trainable=True)
    batch = fastest.Batch(batch_size=4, length=64, learnt=[20] * 4)
    found = []
    for free in (10**10, 100_000):
        monkeypatch.setattr(fastest, "_free", lambda free=free: free)
        found.append(fastest.choose(model, learnt.base, batch, {}, job)[0])
    assert found[0] == found[1]
    monkeypatch.setattr(fastest, "_device_name", lambda: "another")
    assert fastest.choose(model, learnt.base, batch, {}, job)[0] != found[0]


@pytest.mark.parametrize(("tokens", "most"), [(100, 16), (1000, 4), (4000, 1), (10_000, 1)])
def test_on_a_cpu_no_tensor_of_a_layer_grows_beyond_a_block(tokens, most):
    """Rows x tokens x widest layer x 4 bytes; the head, however wide, sees what is learnt alone."""
    import torch

    from finetune.stages.fastest import BLOCK, most_at_once

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.head = torch.nn.Linear(8, 1000), torch.nn.Linear(8, 50_000)

        def get_output_embeddings(self):
            return self.head

    rows = most_at_once(Model(), tokens, "cpu")
    assert rows == most
    assert rows in (1, 16) or rows * tokens * 4000 <= BLOCK < (rows + 1) * tokens * 4000
    assert most_at_once(Model(), tokens, "cuda") == 16


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_the_plan_tells_as_many_at_once(kind, learnt, rows, tmp_path, monkeypatch):
    from finetune.memory.machine import Machine
    from finetune.stages import fastest, needs_training
    from finetune.stages.planned import Model, Stand

    stage = {"sft": sft, "dpo": dpo}[kind](rows, train=TRAIN)
    model = Model(learnt.base, (sft(rows),))
    machine = Machine("here", 10**10, 1e11, 1e10, "cpu")
    chosen = []
    for block in (1 << 24, 13_000, 1):
        monkeypatch.setattr(fastest, "BLOCK", block)
        found = run(stage, learnt, tmp_path / str(block) / kind)
        planned = needs_training.of_training(stage, Stand(model=model, machine=machine))
        assert found.facts["made_with"].startswith(f"{planned.way[0]} ")
        chosen.append(planned.way[0])
    assert chosen == [4, 2, 1]
