"""Writes fields.json: what the libraries' config classes take, so that no check imports them.

Run `python -m finetune.recipe.harvest` after a library's version changes; a test compares.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

from finetune.recipe.fields import NESTED

FILE = Path(__file__).with_name("fields.json")
# Decoder architectures a recipe can give random weights to with `base.config`.
ARCHITECTURES = (
    "bloom",
    "falcon",
    "gemma2",
    "gpt2",
    "gpt_neox",
    "llama",
    "mistral",
    "mixtral",
    "mpt",
    "olmo2",
    "opt",
    "phi3",
    "qwen2",
    "qwen3",
    "smollm3",
    "stablelm",
)
# PEFT's methods that keep this chain's promises: the adapter is saved and read back the same, it
# folds into the base's weights, and a second copy of it can lie beside it as DPO's reference.
METHODS = (
    "adalora",
    "boft",
    "c3a",
    "delora",
    "fourierft",
    "gralora",
    "hira",
    "hra",
    "ia3",
    "ln_tuning",
    "loha",
    "lokr",
    "miss",
    "oft",
    "psoft",
    "randlora",
    "road",
    "shira",
    "vblora",
    "vera",
    "waveft",
)
Field = dict[str, Any]

# Choices that the libraries keep in prose or in code rather than in an annotation.
DOCUMENTED: dict[str, dict[str, list[str]]] = {
    "SFTConfig": {"loss_type": ["nll", "dft"]},
    "DPOConfig": {
        "loss_type": [
            "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard",
            "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
        ],
        "f_divergence_type": ["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"],
    },
    "BitsAndBytesConfig": {
        "bnb_4bit_quant_type": ["fp4", "nf4"],
        "bnb_4bit_compute_dtype": ["float32", "bfloat16", "float16"],
        "bnb_4bit_quant_storage": ["float16", "float32", "int8", "uint8", "float64", "bfloat16"],
    },
}  # fmt: skip


def harvest() -> dict[str, dict[str, Field]]:
    """Class name, or `config.<model_type>` -> field -> type, default and choices."""
    from peft import LoraConfig, PeftType
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    from peft.tuners.lora import config as parts
    from transformers import CONFIG_MAPPING, PreTrainedConfig
    from trl import DPOConfig, SFTConfig

    nested = [getattr(parts, name) for name in NESTED.values()]
    kinds = (LoraConfig, *nested, SFTConfig, DPOConfig)
    found = {kind.__name__: _of_dataclass(kind) for kind in kinds}
    # PEFT knows this start, and its annotation does not.
    found["LoraConfig"]["init_lora_weights"]["choices"].append("lora_ga")
    for name in METHODS:
        kind = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[name.upper()]]
        found[f"peft.{name}"] = _of_dataclass(kind)
    found["BitsAndBytesConfig"] = _of_bitsandbytes()
    found["GenerationConfig"] = _of_generation()
    for name in ARCHITECTURES:
        own = _of_dataclass(CONFIG_MAPPING[name])
        shared = {field.name for field in dataclasses.fields(PreTrainedConfig)}
        found[f"config.{name}"] = {key: row for key, row in own.items() if key not in shared}
    # One loss may be written without a list: the class makes one of it.
    found["DPOConfig"]["loss_type"]["type"] = "str | list[str]"
    for name, fields in DOCUMENTED.items():
        for field, choices in fields.items():
            found[name][field]["choices"] = choices
    return found


def written(found: dict[str, dict[str, Field]]) -> str:
    """The text of fields.json: one field a line, so that a version's changes can be read."""
    blocks = []
    for name, fields in found.items():
        rows = [f"    {json.dumps(key)}: {json.dumps(row)}" for key, row in sorted(fields.items())]
        blocks.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(rows) + "\n  }")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def _of_dataclass(kind: type) -> dict[str, Field]:
    hints = _hints(kind)
    fields = {}
    for field in dataclasses.fields(kind):
        if field.init and not field.name.startswith("_"):
            row = _row(hints[field.name], _default(field))
            choices = field.metadata.get("choices")
            fields[field.name] = {**row, "choices": list(choices)} if choices else row
    return fields


def _hints(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except (NameError, TypeError):
        # Names imported for type checkers only: what cannot be resolved is taken as it comes.
        return {field.name: field.type for field in dataclasses.fields(kind)}


def _default(field: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def _of_bitsandbytes() -> dict[str, Field]:
    """Its options are the arguments of its constructor, which have no annotations."""
    from transformers import BitsAndBytesConfig

    kinds = {
        "llm_int8_skip_modules": "list[str] | null",
        "bnb_4bit_compute_dtype": "str | null",
        "bnb_4bit_quant_storage": "str | null",
    }
    parameters = inspect.signature(BitsAndBytesConfig).parameters.values()
    return {
        each.name: {
            "type": kinds.get(each.name) or type(each.default).__name__,
            "default": each.default,
        }
        for each in parameters
        if each.kind is not each.VAR_KEYWORD
    }


def _of_generation() -> dict[str, Field]:
    """Its options are attributes, and their types stand in its documentation alone."""
    from transformers import GenerationConfig

    documented = dict(
        re.findall(r"^\s+(\w+)\s*:?\s*\(([^\n]*)\):?$", GenerationConfig.__doc__ or "", re.M)
    )
    defaults = GenerationConfig._get_default_generation_params()
    return {
        name: {"type": _in_prose(documented.get(name, "")), "default": _simple(defaults.get(name))}
        for name in vars(GenerationConfig())
        if not name.startswith("_") and name != "transformers_version"
    }


def _in_prose(text: str) -> str:
    """`int`, *optional*, defaults to 1 -> int | null."""
    known = {"bool", "int", "float", "str", "list[int]", "list[str]", "list[list[int]]", "dict"}
    quoted = re.match(r"`([^`]+)`( or `([^`]+)`)?", text)
    if not quoted:
        return "any"
    kinds = [kind for part in (quoted[1], quoted[3]) if part for kind in part.split(" or ")]
    return " | ".join([*kinds, "null"]) if set(kinds) <= known else "any"


def _row(hint: Any, default: Any) -> Field:
    kinds, choices = _kinds(hint)
    # Python gives equal unions one order, that of whichever was written first: sorted, it is ours.
    ordered = sorted(set(kinds), key=lambda kind: (kind == "null", kind))
    row: Field = {"type": " | ".join(ordered), "default": _simple(default)}
    return {**row, "choices": choices} if choices else row


def _kinds(hint: Any) -> tuple[list[str], list[str]]:
    """Names of the plain types an annotation allows, and the texts it names one by one."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        pairs = [_kinds(each) for each in inner]
        return [k for kinds, _ in pairs for k in kinds], [c for _, some in pairs for c in some]
    if origin is typing.Literal:
        texts = [each for each in inner if isinstance(each, str)]
        return [_name(type(each)) for each in inner], texts
    if origin in {list, tuple}:
        item = " | ".join(_kinds(inner[0])[0]) if inner else "any"
        return [f"list[{item}]" if item in {"int", "str", "float"} else "list"], []
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return ["str"], [str(each.value) for each in hint]
    return [_name(origin or hint)], []


def _name(kind: Any) -> str:
    names = {bool: "bool", int: "int", float: "float", str: "str", dict: "dict", list: "list"}
    return "null" if kind in {None, type(None)} else names.get(kind, "any")


def _simple(value: Any) -> Any:
    """A default as JSON; an object of a library's own is left out."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [_simple(each) for each in value]
    return value if isinstance(value, (bool, int, float, str, dict, type(None))) else None


if __name__ == "__main__":
    FILE.write_text(written(harvest()), encoding="utf-8")
