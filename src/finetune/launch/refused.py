"""What is known not to work when a model is shared, told before anything runs, with the way out."""

from __future__ import annotations

from collections.abc import Iterator

from finetune.errors import FinetuneError
from finetune.launch.sharing import Sharing
from finetune.launch.versions import compilers_missing
from finetune.ranks import share
from finetune.recipe.types import Base, Dpo, Pretrain, Recipe, Sft

HALF = {"bfloat16", "float16"}
OFFLOADED = {"adamw_torch", "adamw_torch_fused"}  # what DeepSpeed's own computes as well


def problems(recipe: Recipe, sharing: Sharing, processes: int = 1) -> list[FinetuneError]:
    """Why this recipe does not run this way; empty when nothing is known against it."""
    found = [*_quantized(recipe.base, sharing), *_trained_whole(recipe, sharing)]
    found += _uneven(recipe, processes)
    if sharing.zero_stage == 3:
        found += _modules(recipe)
    if sharing.fsdp:
        found += _fsdp(recipe, sharing)
    if sharing.offloads_optimizer:
        found += _offloaded(recipe)
    return found


def without_compiler(sharing: Sharing, where: str = "") -> Iterator[FinetuneError]:
    """This machine cannot build the optimizer that DeepSpeed keeps beside the GPU."""
    if sharing.offloads_optimizer and (tools := compilers_missing()):
        yield FinetuneError(
            f"DeepSpeed compiles an optimizer for this profile, and there is no {tools[0]}",
            where=where,
            remedy=f"Install it: apt-get install {' '.join(tools)}; or take --launch zero3.",
        )


def _quantized(base: Base, sharing: Sharing) -> Iterator[FinetuneError]:
    """Bases in 4 or 8 bits.

    ZeRO-3: transformers does not shard quantised weights while it loads them, every GPU needs room
    for all of them and more (huggingface/transformers#24395, peft#1844, #2016).
    FSDP: int8 weights cannot be split (bitsandbytes#1709); 4-bit weights only when stored in words
    of a floating-point format (bitsandbytes#970), else accelerate 1.15 leaves them out of sharding
    and every GPU holds the whole base.
    """
    quantization = base.quantization or {}
    if quantization and sharing.zero_stage == 3:
        yield FinetuneError(
            "ZeRO-3 does not share weights in 4 or 8 bits: each GPU would hold all of them",
            where="base.quantization",
            remedy="Use --launch zero2, or fsdp2_qlora, which shares them once they are read.",
        )
    if not sharing.fsdp:
        return
    if quantization.get("load_in_8bit"):
        yield FinetuneError(
            "FSDP cannot split weights in 8 bits",
            where="base.quantization.load_in_8bit",
            remedy="Use --launch multi_gpu or zero2, or load in 4 bits.",
        )
    elif quantization and quantization.get("bnb_4bit_quant_storage") not in HALF | {"float32"}:
        yield FinetuneError(
            "FSDP splits 4-bit weights only when they are stored as floating-point words",
            where="base.quantization",
            remedy="Add bnb_4bit_quant_storage: bfloat16 (the base's own dtype).",
        )


def _trained_whole(recipe: Recipe, sharing: Sharing) -> Iterator[FinetuneError]:
    """All weights are trained, and the profile would leave them in shards that nothing opens.

    transformers 5.23 then saves ZeRO-3's checkpoint instead of a model, and with FSDP nothing.
    """
    shared = sharing.zero_stage == 3 or sharing.fsdp
    if not shared or sharing.saves_whole:
        return
    names = [stage.name for stage in recipe.stages if _trains_all(stage)]
    if names:
        setting = (
            "fsdp_state_dict_type: FULL_STATE_DICT"
            if sharing.fsdp
            else "stage3_gather_16bit_weights_on_model_save: true"
        )
        yield FinetuneError(
            "this launch profile does not put trained weights together when they are saved",
            where=", ".join(names),
            remedy=f"Set {setting} in it, or train an adapter (`lora`).",
        )


def _uneven(recipe: Recipe, processes: int) -> Iterator[FinetuneError]:
    """Steps whose rows do not divide over the processes; of tokens the stage itself can tell."""
    for stage in _training(recipe):
        if getattr(stage, "batch_tokens", None):
            continue
        try:
            share(stage.batch_size, processes, where=f"{stage.name}.batch_size")
        except FinetuneError as error:
            yield error


def _modules(recipe: Recipe) -> Iterator[FinetuneError]:
    """Whole modules trained beside an adapter.

    Tried with peft 0.21.2 and transformers 5.23: the checkpoint of DPO is put together without its
    frozen reference, whose copy of the module peft then looks for.
    """
    for stage in recipe.stages:
        lora = getattr(stage, "lora", None) or {}
        for name in ("modules_to_save", "trainable_token_indices"):
            if lora.get(name):
                yield FinetuneError(
                    f"ZeRO-3 cannot save {name}",
                    where=f"{stage.name}.lora.{name}",
                    remedy="Use --launch zero2, or train adapters alone.",
                )


def _offloaded(recipe: Recipe) -> Iterator[FinetuneError]:
    """Optimizers other than AdamW, which accelerate 1.15 replaces by DeepSpeed's Adam unsaid."""
    for stage in _training(recipe):
        optimizer = str(stage.train.get("optim", "adamw_torch"))
        if optimizer not in OFFLOADED:
            yield FinetuneError(
                f"DeepSpeed has an AdamW alone beside the GPU, and would take it for {optimizer}",
                where=f"{stage.name}.train.optim",
                remedy="Leave it out, or use --launch zero3.",
            )


def _training(recipe: Recipe) -> Iterator[Pretrain | Sft | Dpo]:
    return (stage for stage in recipe.stages if isinstance(stage, Pretrain | Sft | Dpo))


def _trains_all(stage: object) -> bool:
    return isinstance(stage, Pretrain) or (isinstance(stage, Sft) and stage.lora is None)


def _fsdp(recipe: Recipe, sharing: Sharing) -> Iterator[FinetuneError]:
    """FSDP1's flat parameters hide what is trained; bitsandbytes' optimizers know no shards.

    See bitsandbytes#89 and #1633 for the optimizers.
    """
    if sharing.fsdp == 1:
        yield FinetuneError(
            "FSDP's first version is not supported: adapters could not be saved from it",
            remedy="Set fsdp_version: 2 in the launch profile, or use --launch fsdp2_qlora.",
        )
    for stage in _training(recipe):
        optimizer = str(stage.train.get("optim", ""))
        if "8bit" in optimizer or optimizer.startswith("paged"):
            yield FinetuneError(
                f"the optimizer {optimizer} does not work with FSDP",
                where=f"{stage.name}.train.optim",
                remedy="Leave it out, or use --launch zero2.",
            )
