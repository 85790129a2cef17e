"""Starts of LoRA that take more than random numbers: the base's weights, or rows of the data.

PiSSA (Meng et al. 2024), OLoRA (Büyükakyüz 2024), CorDA (Yang et al. 2024) and LoRA-GA (Wang et
al. 2024) take what the adapter begins with out of the base's weights. EVA (Paischer et al. 2024)
leaves them alone, LoftQ (Li et al. 2023) makes up for what rounding them to 4 bits lost.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, initialize_lora_eva_weights
from peft.tuners.lora import LoraGAConfig, LoraLayer
from peft.tuners.lora.config import CordaConfig
from peft.tuners.lora.corda import preprocess_corda
from peft.tuners.lora.loraga import preprocess_loraga
from peft.tuners.tuners_utils import _maybe_include_all_linear_layers
from peft.utils.integrations import dequantize_module_weight
from peft.utils.loftq_utils import _SafetensorLoader
from safetensors import SafetensorError
from transformers import set_seed

from finetune.data.encoded import RowReader
from finetune.data.tokens import Encoded
from finetune.errors import FinetuneError
from finetune.models.batches import right_padded
from finetune.models.configs import place
from finetune.models.distributed import one_format
from finetune.models.stack import TOP
from finetune.recipe.tuning import REWRITING

SAMPLE_ROWS = 256  # rows of the stage's own data that a start looks at, evenly spread
ROWS_AT_ONCE = 8

Batch = dict[str, torch.Tensor]


def start_of(config: PeftConfig) -> str:
    """The start that a config names; empty for the usual one, in which the adapter does nothing."""
    start = getattr(config, "init_lora_weights", True)
    return start.partition("_niter_")[0] if isinstance(start, str) else ""


def rewrites(config: PeftConfig) -> bool:
    """Whether the start takes something out of the base's weights."""
    return start_of(config) in REWRITING


def fresh_adapter(
    model: Any, config: Any, rows: RowReader, weights: Path | None, seed: int
) -> PeftModel:
    """A fresh adapter on the base, its start made as the config says.

    `weights` is the folder of the base before it was quantised, which LoftQ compares with.

    Raises:
        FinetuneError: PEFT refuses the settings, or there is not enough data.
    """
    set_seed(seed)
    config, start = copy.deepcopy(config), start_of(config)
    if start and start != "gaussian" and one_format():
        raise FinetuneError(
            f"the start {start!r} needs whole weights, and ZeRO-3 has shares of them",
            where="lora.init_lora_weights",
            remedy="Launch with another profile, such as ZeRO-2, or leave it out.",
        )
    if start == "corda":
        _prepare(model, config, _correlations, sample(rows))
    elif start == "lora_ga":
        _prepare(model, config, _gradients, sample(rows))
    elif start == "loftq":
        config.init_lora_weights = True
    model = place(model, config)
    if start == "eva":
        _explained_variance(model, sample(rows))
    elif start == "loftq":
        _make_up_for_rounding(model, weights)
    if start not in ("", "mica"):
        # Made once: loading it, or laying a copy beside it, must not make it again.
        model.peft_config[TOP].init_lora_weights = True
    return model


def take_out(model: PeftModel) -> None:
    """Take what the adapter adds now out of the base's weights, so that both are the base again."""
    for module in model.modules():
        if isinstance(module, LoraLayer) and TOP in module.lora_A:
            layer = module.get_base_layer()
            delta = module.get_delta_weight(TOP)  # type: ignore[operator]
            layer.weight.data = (layer.weight.data.float() - delta.float()).to(layer.weight.dtype)


def sample(rows: RowReader) -> list[Encoded]:
    """At most `SAMPLE_ROWS` rows, evenly spread."""
    step = max(1, -(-rows.count // SAMPLE_ROWS))
    return [rows.read(index) for index in range(0, rows.count, step)]


def _batches(rows: Sequence[Encoded], at_once: int, device: Any) -> Iterator[Batch]:
    for at in range(0, len(rows), at_once):
        batch = right_padded(rows[at : at + at_once])
        yield {name: tensor.to(device) for name, tensor in batch.items()}


def _prepare(
    model: Any,
    config: Any,
    prepare: Callable[[Any, LoraConfig, Sequence[Encoded]], None],
    rows: Sequence[Encoded],
) -> None:
    # These two look for layers by name before PEFT has found out which are linear.
    _maybe_include_all_linear_layers(config, model)
    try:
        prepare(model, config, rows)
    except (ValueError, RuntimeError) as error:
        raise FinetuneError(str(error).splitlines()[0], where="lora.init_lora_weights") from error


def _correlations(model: Any, config: LoraConfig, rows: Sequence[Encoded]) -> None:
    config.corda_config = config.corda_config or CordaConfig()

    def run() -> None:
        for batch in _batches(rows, 1, model.device):  # it takes one row at a time, unpadded
            model(**batch)

    preprocess_corda(model, config, run_model=run)


def _gradients(model: Any, config: LoraConfig, rows: Sequence[Encoded]) -> None:
    config.lora_ga_config = config.lora_ga_config or LoraGAConfig()

    def step() -> None:
        for batch in _batches(rows, ROWS_AT_ONCE, model.device):
            model(**batch).loss.backward()

    preprocess_loraga(model, config, train_step=step)


def _explained_variance(model: PeftModel, rows: Sequence[Encoded]) -> None:
    config: Any = model.peft_config[TOP]
    most = max([config.r, *config.rank_pattern.values()])
    needed = round(most * config.eva_config.rho)
    batches = _with_enough(rows, needed, config.eva_config.use_label_mask)
    if not batches:
        raise FinetuneError(
            f"EVA needs at least {needed} tokens (the rank times eva_config.rho) to find that many "
            "directions, and the data has fewer",
            where="lora.init_lora_weights",
            remedy="Lower lora.r or lora.eva_config.rho, or give more rows.",
        )
    moved = [
        {name: tensor.to(model.device) for name, tensor in right_padded(batch).items()}
        for batch in batches
    ]
    try:
        initialize_lora_eva_weights(
            model, moved, gather_distributed_inputs=False, show_progress_bar=False
        )
    except (ValueError, RuntimeError) as error:
        raise FinetuneError(str(error).splitlines()[0], where="lora.init_lora_weights") from error


def _with_enough(rows: Sequence[Encoded], needed: int, learnt: bool) -> list[list[Encoded]]:
    """Batches that have at least so many tokens each; what is left over joins no batch."""
    batches: list[list[Encoded]] = []
    batch: list[Encoded] = []
    tokens = 0
    for row in rows:
        batch.append(row)
        tokens += row.learnt if learnt else len(row.input_ids)
        if tokens >= needed and len(batch) >= min(ROWS_AT_ONCE, len(rows)):
            batches.append(batch)
            batch, tokens = [], 0
    return batches


@torch.no_grad()
def _make_up_for_rounding(model: PeftModel, folder: Path | None) -> None:
    """The best rank-r answer to what each layer lost (one step of LoftQ), by singular values.

    PEFT's own works on CUDA alone, and leaves `lora_alpha` out.
    """
    assert folder is not None, "a quantised base has weights that it was rounded from"
    weights = _SafetensorLoader(model, str(folder))
    for name, module in model.named_modules():
        if not (isinstance(module, LoraLayer) and TOP in module.lora_A):
            continue
        try:
            wanted = weights.get_tensor(f"{name.removeprefix('base_model.model.')}.weight")
        except (KeyError, OSError, SafetensorError) as error:
            raise FinetuneError(
                f"the weights that {name} was rounded from are not in {folder}: {error}",
                where="lora.init_lora_weights",
                remedy="LoftQ needs the base as safetensors, under the names it has in memory.",
            ) from error
        has = dequantize_module_weight(module.get_base_layer()).float()
        wanted = wanted.to(has.device, torch.float32)
        # GPT-2 keeps its weights transposed, bitsandbytes does not.
        lost = (wanted if wanted.shape == has.shape else wanted.T) - has
        left, values, right = torch.linalg.svd(lost, full_matrices=False)
        rank, root = module.r[TOP], (values / module.scaling[TOP]).sqrt()
        module.lora_A[TOP].weight.data = (root[:rank, None] * right[:rank]).contiguous()
        module.lora_B[TOP].weight.data = (left[:, :rank] * root[:rank]).contiguous()
