"""Several adapters of one base made into one, by PEFT's `add_weighted_adapter`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from transformers import set_seed

from finetune.errors import FinetuneError
from finetune.job import ModelRef
from finetune.models.load import empty_model
from finetune.models.merging import on_skeleton
from finetune.models.stack import put_on
from finetune.recipe.leaving import Combine


def combine(settings: Combine, refs: Mapping[str, ModelRef], folder: Path, seed: int) -> None:
    """Write the combination where plain `PeftModel.from_pretrained` finds it.

    `seed` decides which values DARE drops. No weight of the base is read.

    Raises:
        FinetuneError: the adapters stand on different bases, or PEFT cannot combine them.
    """
    first, ref = next(iter(refs.items()))
    for name, each in refs.items():
        if (each.base, each.adapters[:-1]) != (ref.base, ref.adapters[:-1]):
            raise FinetuneError(
                f"the adapters of '{first}' and '{name}' stand on different models",
                where="combine.adapters",
                remedy="Give both stages the same `from`, so that they start from one model.",
            )
        _check(name, each)
    folders = {each.adapters[-1]: name for name, each in refs.items()}
    peft = put_on(on_skeleton(empty_model(ref.base), list(folders)), folders)
    set_seed(seed)
    weights = list(settings.weights) or neutral_weights(settings.combination_type, len(refs))
    try:
        peft.add_weighted_adapter(
            list(refs),
            weights,
            adapter_name="default",
            combination_type=settings.combination_type,
            density=settings.density,
            majority_sign_method=settings.majority_sign_method,
            svd_rank=settings.svd_rank,
        )
    except ValueError as error:
        raise FinetuneError(str(error), where="combine") from error
    peft.save_pretrained(folder, selected_adapters=["default"])
    (folder / "README.md").unlink(missing_ok=True)


def neutral_weights(combination_type: str, count: int) -> list[float]:
    """Weights with which an adapter combined with itself is itself.

    TIES averages what agrees in sign, so each counts whole. The others add up: deltas, or LoRA's
    two factors, each times the root of its weight, and their product then holds every pair.
    """
    if "ties" in combination_type:
        return [1.0] * count
    of_deltas = combination_type == "cat" or combination_type.endswith("svd")
    return [1 / count if of_deltas else 1 / count**2] * count


def _check(name: str, ref: ModelRef) -> None:
    """Refuse what `add_weighted_adapter` of PEFT 0.21 leaves out of its sum, or scales wrongly.

    It combines LoRA's two factors and nothing beside them, and gives the sum the scaling 1, which
    `use_rslora` then divides by the root of the rank.
    """
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(str(ref.adapter))
    kind = config.peft_type.value
    unmixed = ("use_dora", "use_rslora", "modules_to_save", "trainable_token_indices", "lora_bias")
    found = [field for field in unmixed if getattr(config, field, None)]
    if getattr(config, "bias", "none") != "none":
        found.append("bias")
    if kind == "LORA" and not found:
        return
    why = f"`{found[0]}`" if found else f"being of the kind {kind}"
    raise FinetuneError(
        f"the adapter of '{name}' cannot be combined with another, {why}: PEFT adds LoRA's two "
        "factors and nothing else",
        where="combine.adapters",
        remedy="Train it with plain `lora`, or merge one adapter before the other is trained.",
    )
