"""DPO's reference: asked once, found again by runs it holds for, and by no others."""

import json

import pytest
from small_stages import dpo, run, sft

from finetune.job import ModelRef
from finetune.recipe.types import Base

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("quiet")]
TRAIN = {"learning_rate": 1e-2, "num_train_epochs": 2, "logging_steps": 1}


@pytest.fixture(scope="module")
def learnt(bases, rows, tmp_path_factory):
    """A base with a trained adapter."""
    base = ModelRef(base=Base(model=str(bases("llama"))))
    return run(sft(rows), base, tmp_path_factory.mktemp("sft")).model


@pytest.fixture
def asked(monkeypatch):
    """The number of rows of each time that a reference is asked."""
    from finetune.stages.reference import ReferenceTrainer

    found, real = [], ReferenceTrainer.ask

    def counting(self, rows, title):
        if title.endswith("reference"):  # not the pair on which the sharing of prompts is proven
            found.append(len(rows))
        return real(self, rows, title)

    monkeypatch.setattr(ReferenceTrainer, "ask", counting)
    return found


def losses(folder):
    """Every logged loss and margin."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [(line["loss"], line["rewards/margins"]) for line in lines if "loss" in line]


@pytest.mark.parametrize("way", ["continue", "new", "all weights"])
def test_asked_beforehand_it_says_what_it_says_in_every_step(way, learnt, rows, asked, tmp_path):
    start = ModelRef(base=learnt.base) if way == "all weights" else learnt
    lora = {} if way == "all weights" else {"lora": way}
    rate = {"learning_rate": 1e-4} if way == "all weights" else {}
    train = {**TRAIN, **rate}
    in_each = {**train, "precompute_ref_log_probs": False}
    run(dpo(rows, train=in_each, **lora), start, tmp_path / "a" / "dpo")
    assert asked == [] and not (tmp_path / "a" / "reference").exists()
    run(dpo(rows, train=train, **lora), start, tmp_path / "b" / "dpo")
    assert asked == [8]  # each row once, for two epochs
    for one, other in zip(
        losses(tmp_path / "a" / "dpo"), losses(tmp_path / "b" / "dpo"), strict=True
    ):
        assert one == pytest.approx(other, abs=1e-5)


def test_a_run_with_another_beta_does_not_ask_again(learnt, rows, asked, tmp_path, capfd):
    other = {**TRAIN, "beta": 0.3}
    run(dpo(rows, train=other), learnt, tmp_path / "alone" / "dpo")
    asked.clear()
    run(dpo(rows, train=TRAIN), learnt, tmp_path / "run" / "first")
    assert asked == [8]
    capfd.readouterr()
    run(dpo(rows, train=other), learnt, tmp_path / "run" / "second")
    assert asked == [8]
    assert "kept from before (8 rows)" in capfd.readouterr().err
    assert losses(tmp_path / "run" / "second") == losses(tmp_path / "alone" / "dpo")


def test_of_more_rows_only_the_new_ones_are_asked_for(learnt, rows, asked, tmp_path):
    from dataclasses import replace

    stage = dpo(rows, train=TRAIN)
    few = replace(stage, data=replace(stage.data, rows=6))
    run(few, learnt, tmp_path / "few")
    run(stage, learnt, tmp_path / "all")
    assert asked == [6, 2]


def test_another_model_is_asked_anew(learnt, rows, asked, tmp_path):
    run(dpo(rows), learnt, tmp_path / "first")
    run(dpo(rows, lora="merge"), learnt, tmp_path / "merged")
    run(dpo(rows), ModelRef(base=learnt.base), tmp_path / "base")
    assert asked == [8, 8, 8]
    assert len(list((tmp_path / "reference").iterdir())) == 3


@pytest.mark.parametrize("harm", ["stale", "no number", "torn"])
def test_what_was_kept_and_does_not_hold_is_found_and_made_again(
    harm, learnt, rows, asked, tmp_path, capfd
):
    from safetensors.numpy import load_file, save_file

    whole = run(dpo(rows), learnt, tmp_path / "whole")
    (file,) = (tmp_path / "reference").iterdir()
    right = file.read_bytes()
    if harm == "torn":
        file.write_bytes(right[:-20])
    else:
        kept = load_file(file)
        kept["logps"][:, 0] += float("nan") if harm == "no number" else 0.5
        save_file(kept, file)
    capfd.readouterr()
    again = run(dpo(rows), learnt, tmp_path / "again")
    assert asked == [8, 8]
    assert ("computed again" in capfd.readouterr().err) == (harm != "torn")
    assert again.facts["step_0_margin"] == 0.0
    assert again.facts["loss_last"] == whole.facts["loss_last"]
    assert file.read_bytes() == right


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_the_head_passes_over_what_is_not_learnt_and_gives_the_same_losses(
    kind, learnt, rows, tmp_path, monkeypatch
):
    from trl.trainer import utils

    from finetune.stages import training

    stage = {"sft": sft, "dpo": dpo}[kind](rows, train={**TRAIN, "max_grad_norm": 1.0})
    scored = []
    real = utils._ChunkedLogProbFunction.apply
    monkeypatch.setattr(
        utils._ChunkedLogProbFunction,
        "apply",
        lambda hidden, *rest: (scored.append(len(hidden)), real(hidden, *rest))[1],
    )
    found = {}
    for way in ("learnt", "all"):
        if way == "all":
            monkeypatch.setattr(training, "score_learnt_tokens_only", lambda: None)
            monkeypatch.setattr(utils, "_use_triton", lambda device: False)
        scored.clear()
        run(stage, learnt, tmp_path / way / kind)
        lines = (tmp_path / way / kind / "history.jsonl").read_text().splitlines()
        steps = [json.loads(line) for line in lines if "grad_norm" in line]
        found[way] = (sum(scored), [(step["loss"], step["grad_norm"]) for step in steps])
    assert found["learnt"][0] < 0.5 * found["all"][0]
    for one, other in zip(found["learnt"][1], found["all"][1], strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
