"""PEFT's configs from a stage's settings, and where their adapters go on a base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftConfig, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import PeftType
from transformers.pytorch_utils import Conv1D

from finetune.errors import FinetuneError
from finetune.models.distributed import one_format
from finetune.models.experts import expert_layers
from finetune.models.load import empty_model
from finetune.models.stack import TOP
from finetune.recipe.tuning import Tuned
from finetune.recipe.types import Base, Settings, Sft

TASK = "CAUSAL_LM"
# What PEFT raises over a layer or a setting that a method has no code for.
REFUSALS = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, NotImplementedError)
# Where adapters go when the recipe does not say: every linear layer but the head. These methods
# are left to PEFT's own choice for each architecture.
OWN_TARGETS = {"ia3", "ln_tuning"}
NEED_WEIGHTS = {"shira"}  # cannot be put on an architecture without weights
# What of the settings decides where adapters go.
PLACES = (
    "target_modules",
    "target_parameters",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "modules_to_save",
    "trainable_token_indices",
)


def adapter_config(stage: Tuned, before: Path | None = None) -> PeftConfig:
    """The config of a stage's fresh adapter; `before` is one whose shape it may take.

    Raises:
        FinetuneError: PEFT refuses the settings.
    """
    if stage.peft is not None:
        return _method_config(stage.peft)
    if isinstance(stage.lora, dict):
        return lora_config(stage.lora)
    assert before is not None, "a word in place of settings needs an adapter to take them from"
    config = PeftConfig.from_pretrained(str(before))
    config.inference_mode = False
    return config


def lora_config(settings: Settings) -> LoraConfig:
    """PEFT's own config; `target_modules` defaults to every linear layer but the head.

    Raises:
        FinetuneError: PEFT refuses the settings.
    """
    given = {"target_modules": "all-linear", **settings}
    start = given.pop("init_lora_weights", True)
    try:
        # By this value PEFT means to round the weights itself; ours are rounded already.
        if start == "loftq":
            config = LoraConfig(task_type=TASK, **given)
            config.init_lora_weights = start
            return config
        return LoraConfig(task_type=TASK, init_lora_weights=start, **given)
    except (TypeError, ValueError, ImportError) as error:
        raise FinetuneError(str(error), where="lora") from error


def _method_config(settings: Settings) -> PeftConfig:
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[settings["method"].upper()]]
    given = {key: value for key, value in settings.items() if key != "method"}
    if settings["method"] == "adalora":
        given["total_step"] = 1_000_000  # set when the trainer knows it; AdaLoRA wants a number
    if settings["method"] not in OWN_TARGETS:
        given = {"target_modules": "all-linear", **given}
    try:
        return kind(task_type=TASK, **given)
    except (TypeError, ValueError) as error:
        raise FinetuneError(str(error), where="peft") from error


def check_places(base: Base, stage: Tuned) -> None:
    """Find the layers that an adapter goes to, on the base's architecture without weights.

    Raises:
        FinetuneError: PEFT refuses the settings, or there are no such layers.
    """
    if isinstance(stage, Sft) and stage.esft is not None:
        expert_layers(empty_model(base))
    if stage.peft is None and not isinstance(stage.lora, dict):
        return
    config = adapter_config(stage)
    if stage.peft is not None:
        if stage.peft["method"] not in NEED_WEIGHTS:
            place(empty_model(base), config)
        return
    settings = stage.lora if isinstance(stage.lora, dict) else {}
    if settings.get("init_lora_weights") == "olora" and _transposed(empty_model(base)):
        raise FinetuneError(
            "OLoRA (PEFT 0.21) takes weights for rows what GPT-2's layers keep as columns",
            where="lora.init_lora_weights",
            remedy="Choose another start, such as pissa.",
        )
    places = {name: settings[name] for name in PLACES if name in settings}
    if places.get("target_modules", "all-linear") != "all-linear" or len(places) > 1:
        place(empty_model(base), lora_config(places))


def _transposed(model: Any) -> bool:
    return any(isinstance(module, Conv1D) for module in model.modules())


def place(model: Any, config: PeftConfig) -> Any:
    """The model with a fresh adapter on it, beside those it has.

    Raises:
        FinetuneError: the layers named are not there, or PEFT cannot adapt them.
    """
    try:
        if not hasattr(model, "peft_config"):
            return get_peft_model(model, config, autocast_adapter_dtype=not one_format())
        model.add_adapter(TOP, config, autocast_adapter_dtype=not one_format())
        return model
    except REFUSALS as error:
        block = "lora" if config.peft_type == PeftType.LORA else "peft"
        text = (str(error).splitlines() or [type(error).__name__])[0]
        where, remedy = block, ""
        if "target" in text:
            where = f"{block}.target_modules"
            remedy = "Name linear layers of this architecture, or leave it out for all of them."
        elif "ParamWrapper" in text:  # PEFT's word for an adapter on fused experts
            remedy = (
                "The experts of this base are fused into one parameter, and `all-linear` takes "
                "them in: change this setting, or name other layers in target_modules."
            )
        raise FinetuneError(text, where=where, remedy=remedy) from error
