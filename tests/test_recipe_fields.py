"""Library fields in recipes: each one is allowed by name or refused with a reason."""

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from pathlib import Path

import pytest
from recipe_text import SFT, found, loaded, said

from finetune.recipe import leaving, tuning, types
from finetune.recipe.fields import FILE, fields_of, named
from finetune.recipe.limits import LIMITS
from finetune.recipe.pairs import BLOCKS
from finetune.recipe.places import TOP, allowed, written_names
from finetune.recipe.refused import OF_KIND, UNREAD, VALUES, reasons, why_not_value
from finetune.recipe.spellings import SPELLINGS
from finetune.recipe.tuning import LoraPlus
from finetune.recipe.types import STAGES, Base, Data

# The ratchet: a field of a new library version is in none of these and must be decided upon.
TRAINING = """
activation_offloading adam_beta1 adam_beta2 adam_epsilon bf16 fp16 full_determinism
gradient_checkpointing gradient_checkpointing_kwargs learning_rate liger_kernel_config
logging_first_step logging_nan_inf_filter logging_steps loss_type lr_scheduler_kwargs
lr_scheduler_type max_grad_norm max_length max_steps num_train_epochs optim optim_args
optim_target_modules pad_to_multiple_of router_aux_loss_coef save_steps tf32 torch_compile
torch_compile_backend torch_compile_mode torch_empty_cache_steps train_sampling_strategy
use_liger_kernel warmup_steps weight_decay
"""
ALLOWED = {
    "SFTConfig": f"{TRAINING} label_smoothing_factor neftune_noise_alpha packing",
    "DPOConfig": f"""{TRAINING} beta disable_dropout discopop_tau f_alpha_divergence_coef
        f_divergence_type label_smoothing ld_alpha loss_weights precompute_ref_log_probs
        ref_model_mixup_alpha ref_model_sync_steps sync_ref_model use_weighting""",
    "LoraConfig": """alpha_pattern bias corda_config ensure_weight_tying eva_config
        exclude_modules fan_in_fan_out init_lora_weights layers_pattern layers_to_transform
        lora_alpha lora_bias lora_dropout lora_ga_config modules_to_save r rank_pattern
        target_modules target_parameters trainable_token_indices use_dora use_rslora
        velora_config""",
    "CordaConfig": "corda_method use_float16_for_covariance",
    "EvaConfig": "adjust_scaling_factors rho tau use_label_mask whiten",
    "LoraGAConfig": "direction scale stable_gamma",
    "VeloraConfig": "init_type num_groups scale",
    "BitsAndBytesConfig": """bnb_4bit_compute_dtype bnb_4bit_quant_storage bnb_4bit_quant_type
        bnb_4bit_use_double_quant llm_int8_has_fp16_weight llm_int8_skip_modules
        llm_int8_threshold load_in_4bit load_in_8bit""",
    "GenerationConfig": """bad_words_ids begin_suppress_tokens do_sample early_stopping
        epsilon_cutoff eta_cutoff exponential_decay_length_penalty guidance_scale length_penalty
        max_new_tokens min_new_tokens min_p no_repeat_ngram_size num_beams remove_invalid_values
        renormalize_logits repetition_penalty suppress_tokens temperature top_h top_k top_p
        typical_p""",
}
OWN = {
    kind
    for module in (leaving, tuning, types)
    for kind in vars(module).values()
    if is_dataclass(kind)
}
LORA_SFT = SFT.replace("lora: {}", "lora: {r: 4}, train: {max_length: 8}")


@pytest.mark.parametrize("class_name", ALLOWED)
def test_every_field_of_a_library_is_allowed_by_name_or_refused_with_a_reason(class_name):
    known, refused = set(fields_of(class_name)), set(reasons(class_name))
    assert known - refused == set(ALLOWED[class_name].split())
    assert all(len(reason.split()) > 3 for reason in reasons(class_name).values())


def test_every_refusal_is_about_a_field_that_exists():
    for class_name in ALLOWED:
        shared = {"SFTConfig": "DPOConfig", "DPOConfig": "SFTConfig"}.get(class_name, class_name)
        known = set(fields_of(class_name)) | set(fields_of(shared))
        assert set(reasons(class_name)) <= known
    every = {field for name in named("config.") for field in fields_of(f"config.{name}")}
    assert {field for name in named("config.") for field in reasons(f"config.{name}")} <= every
    assert all(field in fields_of("SFTConfig") for _, field in OF_KIND)
    methods = named("peft.")
    every = {field for name in methods for field in fields_of(f"peft.{name}")}
    assert {field for name in methods for field in reasons(f"peft.{name}")} <= every
    assert all(field in fields_of(name) for name, field, _ in VALUES if name != "peft.")


def test_the_tables_of_ranges_and_contradictions_name_fields_that_a_recipe_may_hold():
    blocks = {"lora": "LoraConfig", "generation": "GenerationConfig"}
    blocks |= {"quantization": "BitsAndBytesConfig"}
    for (kind, block), rows in BLOCKS.items():
        train = "DPOConfig" if kind == "dpo" else "SFTConfig"
        assert {row[0] for row in rows} <= set(allowed(blocks.get(block, train), kind))
    every = {name for class_name in ALLOWED for name in allowed(class_name, "")}
    ours = {f.name for kind in OWN for f in dataclass_fields(kind)}
    assert set(LIMITS) <= every | ours | {"seed"}


def test_every_spelling_of_another_tool_leads_to_a_key_that_exists():
    own = {"base": written_names(Base), "data": written_names(Data)}
    for spelling, target in SPELLINGS.items():
        kind, _, rest = target.rpartition(":")
        keys = rest.split(".")
        if keys[0] in TOP and keys[0] != "base":
            continue
        assert keys[0] == "base" or any(
            keys[0] in written_names(each) for name, each in STAGES.items() if kind in ("", name)
        ), spelling
        if keys[0] in own and len(keys) > 1:
            assert keys[1] in own[keys[0]], spelling
        elif len(keys) > 1:
            classes = {"lora": ["LoraConfig"], "generation": ["GenerationConfig"]}
            if keys[0] == "loraplus":
                assert keys[1] in written_names(LoraPlus)
                continue
            names = classes.get(keys[0], ["SFTConfig", "DPOConfig"])
            assert any(keys[1] in allowed(name, "") for name in names), spelling


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sft.train.output_dir=x", "top-level `output_dir`"),
        ("sft.train.seed=1", "one `seed` at the top"),
        ("sft.train.per_device_train_batch_size=1", "the stage's `batch_size`"),
        ("sft.train.deepspeed=x.json", "launch profile"),
        ("sft.train.eval_strategy=epoch", "`evaluate` stage"),
        ("sft.train.packing_strategy=wrapped", "each of them whole"),
        ("sft.train.assistant_only_loss=true", "`mask`"),
        ("sft.lora.task_type=CAUSAL_LM", "PEFT writes it"),
        ("sft.lora.kasa_config={}", "cuts the base's weights"),
        ("sft.lora.corda_config.cache_file=x", "pickles, which can run code"),
    ],
)
def test_a_field_that_would_do_nothing_is_refused_with_its_reason(tmp_path, change, message):
    key = change.partition("=")[0]
    told = said(tmp_path, LORA_SFT, change)
    assert told.startswith(f"{key}: ") and message in told


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("sft.train.num_train_epochs=1", 1.0),
        ("sft.train.warmup_steps=0.05", 0.05),
        ("sft.train.max_length=null", None),
        ("sft.lora.target_modules=all-linear", "all-linear"),
        ("sft.lora.target_modules=[q_proj, v_proj]", ["q_proj", "v_proj"]),
        ("sft.lora.init_lora_weights=false", False),
        ("sft.lora.init_lora_weights=gaussian", "gaussian"),
        ("sft.lora.rank_pattern={a.b: 4}", {"a.b": 4}),
        ("sft.train.lr_scheduler_kwargs={num_cycles: 2}", {"num_cycles": 2}),
    ],
)
def test_a_value_of_the_fields_type_is_taken(tmp_path, change, value):
    _, block, key = change.partition("=")[0].split(".")
    read = getattr(loaded(tmp_path, LORA_SFT, change).stages[0], block)[key]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('sft.lora.r="8"', "must be a whole number, got '8'; write 8 (without quotes)"),
        ("sft.lora.r=8.0", "must be a whole number, got 8.0; write 8"),
        ("sft.lora.r=8.5", "must be a whole number, got 8.5"),
        ("sft.lora.r=true", "must be a whole number, got true"),
        ("sft.lora.r=[8]", "must be a whole number, got a list"),
        ("sft.lora.use_dora=1", "must be true or false, got 1"),
        ("sft.lora.bias=xyz", "must be one of none, all, lora_only, got 'xyz'"),
        ("sft.lora.bias=lora-only", "no such choice: 'lora-only'; did you mean 'lora_only'?"),
        ("sft.lora.layers_to_transform=[1, x]", "an item must be a whole number, got 'x'"),
        ("sft.lora=16", "must be a mapping of LoraConfig fields ({} for its defaults), got 16"),
        ("sft.train.learning_rate=1_000", "must be a number, got '1_000'; write 1000"),
        ("sft.train.learning_rate=.nan", "must be a finite number, got .nan"),
        ("sft.train.lr_scheduler_type=cosin", "did you mean 'cosine'?"),
        ("sft.data={path: 3, split: [a]}", "must be a text, got a list"),
        ("sft.batch_size=16.0", "must be a whole number, got 16.0; write 16"),
        ("base=tiny-mistral", "must be a mapping of model, revision, dtype,"),
        ("stages={sft: {}}", "must be a list; put a `-` before each stage"),
    ],
)
def test_a_value_of_another_type_is_refused_in_words(tmp_path, change, message):
    assert message in said(tmp_path, LORA_SFT, change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sft.lora.rnk=1", "sft.lora.rnk: no such field in LoraConfig; did you mean 'r'?"),
        ("sft.lora.lora_apha=1", "did you mean 'lora_alpha'?"),
        ("sft.lora_r=1", "`lora_r` is written `sft.lora.r` here"),
        ("base.lora_r=1", "`lora_r` is written `sft.lora.r` here"),
        ("lora_alpha=1", "`lora_alpha` belongs to `sft.lora.lora_alpha`"),
        ("sft.cutoff_len=1", "`cutoff_len` is written `sft.train.max_length` here"),
        ("sft.train.max_seq_length=1", "`max_seq_length` is written `sft.train.max_length` here"),
        ("sft.micro_batch_size=1", "`micro_batch_size` is written `sft.batch_size` here"),
        ("sft.train.warmup_ratio=0.1", "`warmup_ratio` is written `sft.train.warmup_steps` here"),
        ("load_in_4bit=true", "`load_in_4bit` belongs to `base.quantization.load_in_4bit`"),
        ("model_name_or_path=x", "`model_name_or_path` is written `base.model` here"),
        ("sft.train.beta=1", "`beta` belongs to `train` of a stage of kind dpo"),
        ("sft.model=x", "`model` belongs to `base.model`"),
        ("base.seed=1", "`seed` belongs to the top of the recipe: `seed`"),
        ("val_set_size=1", "`val_set_size` is written `evaluate.tasks` here"),
        ("bsae=x", "no such key, and no stage of this name; did you mean 'base'?"),
        ("stage=x", "did you mean 'stages'?"),
        ("sftt={batch_size: 2}", "did you mean 'sft'?"),
        ("sft.dta=x", "sft.dta: no such key; did you mean 'data'?"),
        ("sft.data.colums={}", "sft.data.colums: no such key; did you mean 'columns'?"),
    ],
)
def test_a_name_that_is_not_known_is_led_to_the_right_one(tmp_path, change, message):
    assert message in said(tmp_path, LORA_SFT, change)


def test_the_keys_of_another_tool_lead_to_sft_and_get_no_list_of_ours_each(tmp_path):
    text = """\
    base_model: x
    datasets: [{path: y, type: alpaca}]
    sample_packing: true
    train_on_inputs: false
    learning_rate: 0.0002
    adapter: qlora
    ddp_timeout: 9
    strict: false
    """
    message = "\n".join(each for _, each in found(tmp_path, text))
    for right in ("sft.data", "sft.train.packing", "sft.mask", "sft.lora"):
        assert f"is written `{right}` here" in message
    assert "`learning_rate` belongs to `train` of a stage of kind sft" in message
    assert "ddp_timeout: not set here: hardware is not in a recipe" in message
    assert "known:" not in message


def test_pretraining_says_why_it_takes_no_packing(tmp_path):
    text = SFT.replace("sft: {data: rows.jsonl, lora: {}}", "pretrain: {data: corpus.jsonl}")
    assert "always fills blocks" in said(tmp_path, text, "pretrain.train.packing=true")


def test_a_base_of_random_weights_takes_the_fields_of_its_architecture(tmp_path):
    text = """\
    base:
      config: {model_type: mistral, hidden_size: 8}
      tokenizer: {vocab_size: 512}
    stages: [{pretrain: {data: corpus.jsonl}}]
    """
    config = loaded(tmp_path, text, "base.config.num_hidden_layers=2").base.config
    assert config == {"model_type": "mistral", "hidden_size": 8, "num_hidden_layers": 2}
    assert "did you mean 'hidden_size'?" in said(tmp_path, text, "base.config.hiden_size=8")
    assert "vocab_size`" in said(tmp_path, text, "base.config.vocab_size=8")
    assert "no such architecture: 'mistrl'; did you mean 'mistral'?" in said(
        tmp_path, text, "base.config.model_type=mistrl"
    )
    mpt = text.replace("mistral, hidden_size: 8", "mpt, expansion_ratio: 2")
    assert "never reads it" in said(tmp_path, mpt)


def test_a_field_said_to_be_unread_is_not_in_the_code_of_its_architecture():
    libraries = Path(importlib.util.find_spec("transformers").origin).parent / "models"
    unread = {
        (architecture, name)
        for architecture in named("config.")
        for name, reason in reasons(f"config.{architecture}").items()
        if reason == UNREAD
    }
    assert ("mpt", "expansion_ratio") in unread
    for architecture, name in unread:
        code = (libraries / architecture / f"modeling_{architecture}.py").read_text("utf-8")
        assert not re.search(rf"\b{name}\b", code), (architecture, name)


def test_all_problems_are_told_at_once_each_with_its_line(tmp_path):
    text = """\
    seeed: 1
    base: {modle: tiny-mistral}
    stages:
      - sft: {data: {task: samsun}, lora: {rnk: 4}, batch_size: x}
      - dop: {data: pairs.jsonl}
    """
    assert [line for line, _ in found(tmp_path, text)] == [1, 2, 4, 4, 4, 5]


@pytest.mark.heavy
def test_the_fields_known_are_those_of_the_installed_libraries():
    # In a process of its own: what other tests have made the libraries do must not show here.
    program = "from finetune.recipe.harvest import harvest, written; print(written(harvest()))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert json.loads(FILE.read_text(encoding="utf-8")) == json.loads(done.stdout)


@pytest.mark.heavy
def test_the_libraries_take_every_default_and_choice_that_a_recipe_may_hold():
    from peft import LoraConfig
    from transformers import CONFIG_MAPPING, BitsAndBytesConfig, GenerationConfig
    from trl import DPOConfig, SFTConfig

    cpu = {"output_dir": "unused", "use_cpu": True, "bf16": False}
    classes = {kind.__name__: (kind, cpu) for kind in (SFTConfig, DPOConfig)}
    for kind in (LoraConfig, BitsAndBytesConfig, GenerationConfig):
        classes[kind.__name__] = (kind, {})
    classes |= {f"config.{name}": (CONFIG_MAPPING[name], {}) for name in named("config.")}
    refused = set()
    for class_name, (kind, given) in classes.items():
        for field in allowed(class_name, ""):
            row = fields_of(class_name)[field]
            texts = [text for text in row.choices if "[" not in text]
            for value in [row.default, *texts]:
                if why_not_value(class_name, field, value) or value == "loftq":
                    continue  # LoftQ's config is made without PEFT's own rounding
                try:
                    kind(**{**given, field: value})
                except (TypeError, ValueError):
                    refused.add((field, value))
    # Both need scores from within training; `pairs` refuses them too.
    assert refused == {
        ("lr_scheduler_type", "reduce_lr_on_plateau"),
        ("lr_scheduler_type", "greedy"),
    }
