"""What does not work when a model is shared is said before anything runs, with what does."""

import pytest

from finetune import cli
from finetune.launch import profiles, refused, sharing
from finetune.launch.sharing import Sharing
from finetune.recipe.types import Base, Data, Dpo, Recipe, Sft

ROWS = Data(path="rows.jsonl")
FOUR = {"load_in_4bit": True}
STORED = {**FOUR, "bnb_4bit_quant_storage": "bfloat16"}
LORA = {"r": 4}
ZERO2, ZERO3, FSDP2 = Sharing(zero_stage=2), Sharing(zero_stage=3), Sharing(fsdp=2)
OFFLOAD = Sharing(zero_stage=3, offloads_optimizer=True)


def recipe(quantization=None, lora=LORA, **train):
    stages = (
        Sft(name="sft", data=ROWS, lora=lora, train=train),
        Dpo(name="dpo", data=ROWS, train=train),
    )
    return Recipe(name="r", base=Base(model="m", quantization=quantization), stages=stages)


REFUSED = {
    "4 bits, ZeRO-3": (recipe(FOUR), ZERO3, "zero2"),
    "8 bits, ZeRO-3": (recipe({"load_in_8bit": True}), ZERO3, "zero2"),
    "8 bits, FSDP2": (recipe({"load_in_8bit": True}), FSDP2, "multi_gpu"),
    "4 bits in bytes, FSDP2": (recipe(FOUR), FSDP2, "bnb_4bit_quant_storage: bfloat16"),
    "FSDP1": (recipe(STORED), Sharing(fsdp=1), "fsdp2_qlora"),
    "8-bit optimizer, FSDP2": (recipe(STORED, optim="adamw_bnb_8bit"), FSDP2, "zero2"),
    "another optimizer beside the GPU": (recipe(optim="sgd"), OFFLOAD, "Leave it out"),
    "whole modules, ZeRO-3": (recipe(lora={"modules_to_save": ["lm_head"]}), ZERO3, "zero2"),
    "ZeRO-3 that saves shards": (
        recipe(lora=None),
        Sharing(zero_stage=3, saves_whole=False),
        "stage3_gather_16bit_weights_on_model_save",
    ),
    "FSDP2 that saves shards": (
        recipe(lora=None),
        Sharing(fsdp=2, saves_whole=False),
        "FULL_STATE_DICT",
    ),
}
TAKEN = {
    "no sharing": (recipe(FOUR), Sharing()),
    "4 bits, ZeRO-2": (recipe(FOUR), ZERO2),
    "ZeRO-3": (recipe(optim="sgd"), ZERO3),
    "AdamW beside the GPU": (recipe(optim="adamw_torch", adam_beta2=0.95), OFFLOAD),
    "all weights, ZeRO-3": (recipe(lora=None), ZERO3),
    "adapters, shards saved": (
        recipe(),
        Sharing(zero_stage=3, saves_whole=False),
    ),
    "4 bits in words, FSDP2": (recipe(STORED), FSDP2),
}


def test_every_step_that_processes_cannot_share_is_refused_with_its_stage():
    stages = (
        Sft(name="sft", data=ROWS, batch_size=24),
        Sft(name="tokens", data=ROWS, batch_tokens=1000),
        Dpo(name="dpo", data=ROWS, batch_size=3),
    )
    plain = Recipe(name="r", base=Base(model="m"), stages=stages)
    assert not refused.problems(plain, Sharing(), 1)
    found = refused.problems(plain, Sharing(), 16)
    assert [each.where for each in found] == ["sft.batch_size", "dpo.batch_size"]
    assert [each.remedy for each in found] == ["Nearest that do: 16 and 32."] * 2


@pytest.mark.parametrize(
    ("name", "machines", "gpus", "processes"),
    [
        *(("gpu", 1, 8, 1), ("cpu_2", 1, 8, 2), ("cpu_2", 4, 0, 4)),
        *(("multi_node", 2, 8, 16), ("zero2", 1, 4, 4), ("zero2", 1, 0, 2)),
    ],
)
def test_a_profile_knows_how_many_processes_it_starts(name, machines, gpus, processes):
    assert profiles.find(name).processes(machines, gpus) == processes


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_work_is_refused_with_what_does(case):
    which, how, way_out = REFUSED[case]
    (found, *_) = refused.problems(which, how)
    assert way_out in found.remedy


@pytest.mark.parametrize("case", TAKEN)
def test_what_works_is_taken(case):
    assert refused.problems(*TAKEN[case]) == []


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("multi_gpu", Sharing()),
        ("cpu_2", Sharing()),
        ("zero1", Sharing(zero_stage=1, saves_whole=False)),
        ("zero3", Sharing(zero_stage=3)),
        (
            "zero3_offload",
            Sharing(zero_stage=3, offloads_optimizer=True, offloads_weights=True),
        ),
        ("fsdp2_qlora", Sharing(fsdp=2)),
    ],
)
def test_how_a_profile_shares_is_read_from_it(name, wanted):
    assert sharing.of(profiles.find(name)) == wanted


@pytest.mark.heavy
@pytest.mark.parametrize("name", profiles.names())
def test_a_launched_process_finds_what_its_profile_says(name, monkeypatch):
    from together import environment

    for key, value in environment(name).items():
        monkeypatch.setenv(key, value)
    assert sharing.from_environment() == sharing.of(profiles.find(name))


def test_plain_accelerate_settings_are_understood(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    assert sharing.from_environment() == Sharing(zero_stage=3, saves_whole=False)
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL", "true")
    assert sharing.from_environment() == Sharing(zero_stage=3)


def test_the_command_line_refuses_before_any_process_is_started(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "samsum", "--launch", "zero3"])
    assert end.value.code == 1
    text = capsys.readouterr().err
    assert text.startswith("base.quantization: ZeRO-3 does not share weights in 4 or 8 bits")
    assert "--launch zero2" in text


def test_each_stage_that_cannot_be_saved_is_named():
    (found,) = refused.problems(recipe(lora=None), Sharing(fsdp=2, saves_whole=False))
    assert found.where == "sft"
