"""ESFT: the published rule, a planted router, and experts that nothing touches."""

import json
from dataclasses import replace

import pytest
from shapes import FORMATS
from small_stages import TRAIN, dpo, logits, run, sft

from finetune.errors import FinetuneError
from finetune.job import Job, ModelRef
from finetune.recipe.tuning import Esft
from finetune.recipe.types import Base, Evaluate, Score

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("quiet")]
HARD = {**TRAIN, "weight_decay": 0.5, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def mixture(bases):
    return ModelRef(base=Base(model=str(bases("mixtral")), **FORMATS["fp32"]))


@pytest.fixture(scope="module")
def trained(mixture, rows, tmp_path_factory):
    """A stage's folder and result."""
    folder = tmp_path_factory.mktemp("esft")
    stage = sft(rows, lora=None, esft=Esft(top_p=0.3), train=HARD)
    return folder, run(stage, mixture, folder)


def opened(ref):
    from finetune.models.load import open_base

    return open_base(ref.base)


def weights_of(ref):
    return {name: weight.clone() for name, weight in opened(ref).state_dict().items()}


def reader(rows):
    from finetune.data.encoded import RowReader
    from finetune.data.tokens import Encoded

    encoded = [Encoded(ids, list(ids)) for ids in rows]
    return RowReader(len(encoded), encoded.__getitem__)


def test_experts_are_chosen_by_falling_score_until_their_sum_reaches_p():
    from finetune.models.experts import choose

    scores = {"a": [0.1, 0.4, 0.2, 0.3], "b": [0.25, 0.25, 0.25, 0.25], "c": [0.0, 0.9, 0.1, 0.0]}
    assert choose(scores, 0.2) == {"a": [1], "b": [0], "c": [1]}
    assert choose(scores, 0.4) == {"a": [1], "b": [0, 1], "c": [1]}
    assert choose(scores, 0.71) == {"a": [1, 2, 3], "b": [0, 1, 2], "c": [1]}
    assert choose(scores, 1.0) == {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3], "c": [1, 2]}


@pytest.mark.parametrize("kind", ["token", "gate"])
def test_scores_are_those_worked_out_by_hand_from_the_routers_answers(kind, mixture):
    """The mean over rows of (1/L) sum over tokens: of choices / K, or of gate weights."""
    import torch

    from finetune.models.experts import score

    texts = [list(range(5, 25)), list(range(40, 47))]
    model = opened(mixture)
    found = score(model, reader(texts), Esft(score=kind, sample_tokens=1000))
    for layer in range(2):
        by_row = []
        for ids in texts:
            with torch.inference_mode():
                router = model(torch.tensor([ids]), output_router_logits=True).router_logits[layer]
            gates, experts = router.softmax(-1).topk(2)
            gates = gates / gates.sum(-1, keepdim=True)
            row = torch.zeros(4)
            for token in range(len(ids)):
                for gate, expert in zip(gates[token], experts[token], strict=True):
                    row[expert] += (gate if kind == "gate" else 0.5) / len(ids)
            by_row.append(row)
        by_hand = torch.stack(by_row).mean(dim=0)
        ours = found[f"model.layers.{layer}.mlp.experts"]
        torch.testing.assert_close(torch.tensor(ours), by_hand, atol=1e-6, rtol=0)


def test_a_sample_ends_when_it_has_enough_tokens(mixture):
    from finetune.models.experts import score

    texts = [list(range(5, 25)), list(range(40, 47)), list(range(60, 90))]
    few = score(opened(mixture), reader(texts), Esft(sample_tokens=20))
    assert few == score(opened(mixture), reader(texts[:1]), Esft(sample_tokens=10**6))


def test_a_planted_router_is_found(mixture):
    """Every token goes to experts 1 and 3 of the first layer, to 0 and 2 of the next."""
    from finetune.models.experts import choose, score

    model = opened(mixture)
    for layer, experts in ((0, (1, 3)), (1, (0, 2))):
        block = model.model.layers[layer]
        block.mlp.gate.register_forward_hook(
            lambda module, args, out, experts=experts: _send(out, experts)
        )
    chosen = choose(score(model, reader([list(range(5, 60))]), Esft(sample_tokens=50)), 0.9)
    assert list(chosen.values()) == [[1, 3], [0, 2]]


def _send(out, experts):
    import torch

    router_logits, weights, index = out
    return router_logits, torch.full_like(weights, 0.5), torch.tensor(experts).expand_as(index)


def test_only_the_chosen_experts_move_however_strong_the_weight_decay(mixture, trained):
    folder, result = trained
    told = json.loads((folder / "experts" / "experts.json").read_text())
    before, after = weights_of(mixture), weights_of(result.model)
    assert before.keys() == after.keys()
    moved = set()
    for name, weight in before.items():
        layer, _, last = name.rpartition(".")
        if last in ("gate_up_proj", "down_proj"):
            for expert in range(4):
                if not after[name][expert].equal(weight[expert]):
                    moved.add((layer, expert))
        else:
            assert after[name].equal(weight), name
    assert moved == {(layer, each) for layer, row in told.items() for each in row["chosen"]}
    assert 0 < len(moved) < 8


def test_the_trained_share_is_that_of_the_formula(mixture, trained):
    folder, result = trained
    told = json.loads((folder / "experts" / "experts.json").read_text())
    each = 3 * 32 * 64  # gate, up and down of one expert
    assert result.facts["trainable_parameters"] == each * sum(
        len(row["chosen"]) for row in told.values()
    )


def test_the_small_artefact_over_the_base_is_the_whole_model(mixture, trained):
    from finetune.models.experts import lay_over

    folder, result = trained
    model = opened(mixture)
    lay_over(model, folder / "experts")
    assert logits(model).equal(logits(opened(result.model)))
    small, whole = folder / "experts" / "experts.safetensors", folder / "model"
    assert small.stat().st_size < sum(p.stat().st_size for p in whole.glob("*.safetensors"))


def test_the_result_opens_in_plain_transformers_and_is_tuned_and_scored_further(
    trained, rows, tmp_path
):
    from transformers import AutoModelForCausalLM

    from finetune.recipe.types import Data

    _, result = trained
    plain = AutoModelForCausalLM.from_pretrained(result.model.base.model).eval()
    assert logits(plain).equal(logits(opened(result.model)))
    preferred = run(dpo(rows, lora={"r": 2}), result.model, tmp_path / "dpo")
    assert preferred.facts["step_0_margin"] == 0.0
    score = Score(task="loss", data=Data(path=str(rows / "answers.jsonl")))
    models = {"sft": result.model, "dpo": preferred.model}
    stage = Evaluate(name="evaluate", tasks=(score,))
    found = run(stage, result.model, tmp_path / "evaluate", models=models).scores
    assert found.keys() == models.keys()


def test_experts_laid_over_another_model_are_refused(trained, bases, tmp_path):
    from finetune.models.experts import lay_over

    folder, _ = trained
    other = ModelRef(base=Base(model=str(bases("llama")), **FORMATS["fp32"]))
    with pytest.raises(FinetuneError, match="these experts are of another model"):
        lay_over(opened(other), folder / "experts")


def test_a_base_without_experts_is_told_so(bases, rows, tmp_path):
    from finetune.stages import sft as module

    base = ModelRef(base=Base(model=str(bases("llama")), **FORMATS["fp32"]))
    job = Job(name="sft", out=tmp_path, seed=1, model=base)
    with pytest.raises(FinetuneError, match="for mixtures of experts"):
        module.check(sft(rows, lora=None, esft=Esft()), job)
    module.check(sft(rows, lora=None), job)


@pytest.mark.parametrize("what", ["experts", "all weights", "adalora", "stack", "pissa"])
def test_a_killed_run_resumes_to_the_very_same_weights(
    what, mixture, bases, rows, tmp_path, monkeypatch
):
    from stop_training import stop_at

    model = mixture
    train = {**HARD, "max_steps": 4, "save_steps": 1}
    stage = sft(rows, lora=None, train=train)
    if what == "experts":
        stage = replace(stage, esft=Esft(top_p=0.3))
    if what in ("adalora", "stack", "pissa"):
        model = ModelRef(base=Base(model=str(bases("llama")), **FORMATS["fp32"]))
    if what == "adalora":
        ranks = {"init_r": 6, "target_r": 3, "tinit": 1, "tfinal": 1, "deltaT": 1}
        stage = replace(stage, peft={"method": "adalora", **ranks})
    elif what == "stack":
        model = run(sft(rows), model, tmp_path / "first").model
        stage = replace(stage, lora={"r": 2, "lora_dropout": 0.1})
    elif what == "pissa":
        stage = replace(stage, lora={"r": 2, "init_lora_weights": "pissa"})
    whole = run(stage, model, tmp_path / "whole").model
    with stop_at(3, monkeypatch), pytest.raises(KeyboardInterrupt):
        run(stage, model, tmp_path / "stopped")
    resumed = run(stage, model, tmp_path / "stopped")
    assert resumed.facts["resumed_at_step"] in (2, 3)
    assert bytes_of(resumed.model) == bytes_of(whole)


def bytes_of(ref):
    from pathlib import Path

    folder = ref.adapter or Path(ref.base.model)
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.safetensors"))}
