"""Checks of inference: weights in 4 bits, and answers written in batches."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from finetune.models.decoding import decode
from finetune.models.generate import left_padded
from finetune.models.hardware import dtype
from finetune.models.load import open_base
from finetune.selftest import tiny
from finetune.selftest.readings import Reading

# The 16 levels of NF4: Dettmers et al. 2023 (arXiv 2305.14314), appendix E.
LEVELS = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
# Shares of the largest logit: float32 sums in another order; products rounded to 8 bits.
GAPS = {torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 1e-2}
LENGTHS = (3, 41, 9, 17, 30, 5, 23, 12)
NEW = 32


def four_bits(folder: Path) -> list[Reading]:
    """Logits from packed weights, and from the same weights unpacked by their definition."""
    readings = []
    for name in dict.fromkeys(("float32", str(dtype("auto")).removeprefix("torch."))):
        model = open_base(tiny.base(folder, dtype=name, quantization=tiny.NF4))
        ids = torch.arange(5, 45, device=model.device).reshape(2, 20)
        given = {"rows": ids, "a token": ids[:1, :1]}  # kernels differ for one and for many
        packed = {what: _logits(model, each) for what, each in given.items()}
        _unpack(model)
        for what, each in given.items():
            wanted = _logits(model, each)
            gap = float((packed[what] - wanted).abs().max() / wanted.abs().max())
            bound = GAPS[dtype(name)]
            readings.append(Reading(f"{name}, {what}: share of the largest logit", gap, bound))
    return readings


def generation(folder: Path) -> list[Reading]:
    """Answers of a batch, from which rows leave as they end, and of each row alone."""
    model = open_base(tiny.base(folder))
    numbers = random.Random(tiny.SEED)
    prompts = [[numbers.randrange(10, 300) for _ in range(length)] for length in LENGTHS]
    written = _alone(model, prompts, _config([1]))
    ends = sorted({written[0][4], written[2][11], written[5][20]})
    right = _alone(model, prompts, _config(ends))
    ids, mask = (each.to(model.device) for each in left_padded(prompts, pad=0))
    with torch.inference_mode():
        found = decode(model, ids, mask, _config(ends))
    other = sum(_unlike(one, two) for one, two in zip(right, found, strict=True))
    return [Reading(f"other tokens of {sum(map(len, right))}", other, 0)]


def _logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=ids, use_cache=False).logits.float()


def _unpack(model: Any) -> None:
    """Give the model plain layers of the weights that its 4 bits stand for."""
    for path, module in list(model.named_modules()):
        if type(module).__name__ != "Linear4bit":
            continue
        plain = torch.nn.Linear(module.in_features, module.out_features, bias=False)
        weight = _meaning(module.weight).to(module.compute_dtype)
        plain.weight = torch.nn.Parameter(weight, requires_grad=False)
        owner, _, last = path.rpartition(".")
        setattr(model.get_submodule(owner), last, plain)


def _meaning(packed: Any) -> torch.Tensor:
    """Two levels to a byte, the first in its upper half, times their block's scale.

    The scales are in 8 bits themselves: a level of another table times a scale of its own blocks,
    to which their mean is added.
    """
    state = packed.quant_state
    of_scales, data = state.state2, packed.data.reshape(-1).long()
    scales = _scaled(of_scales.code[state.absmax.long()], of_scales.absmax, of_scales.blocksize)
    levels = torch.tensor(LEVELS, device=data.device)
    values = levels[torch.stack([data >> 4, data & 15], dim=1).reshape(-1)]
    return _scaled(values, scales + state.offset, state.blocksize).reshape(state.shape)


def _scaled(values: torch.Tensor, scales: torch.Tensor, block: int) -> torch.Tensor:
    return values * scales.repeat_interleave(block)[: len(values)]


def _config(ends: list[int]) -> GenerationConfig:
    return GenerationConfig(do_sample=False, max_new_tokens=NEW, eos_token_id=ends, pad_token_id=0)


def _alone(model: Any, prompts: list[list[int]], config: GenerationConfig) -> list[list[int]]:
    """Each row by the library itself, without padding or company."""
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt], device=model.device)
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config
            )
        found.append(out[0, len(prompt) :].tolist())
    return found


def _unlike(first: list[int], second: list[int]) -> int:
    """Tokens of one that are not the other's, from the first that differs."""
    same = 0
    while same < min(len(first), len(second)) and first[same] == second[same]:
        same += 1
    return max(len(first), len(second)) - same
