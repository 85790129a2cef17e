"""What GGUF says of each architecture: its metadata, and how tensors differ from transformers'.

Names of tensors come from the `gguf` package. What is here is what llama.cpp expects beyond them,
each row checked against llama.cpp itself on logits (tests/test_export_llama_cpp.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from gguf import MODEL_ARCH, GGUFWriter, RopeScalingType

from finetune.errors import FinetuneError

Config = Any  # a transformers config; each architecture has a class of its own
Tensor = torch.Tensor


@dataclass(frozen=True)
class Shape:
    """One architecture; `change` takes the GGUF name of a tensor and the tensor."""

    arch: MODEL_ARCH
    describe: Callable[[GGUFWriter, Config], None]
    change: Callable[[str, Tensor, Config], Tensor] = lambda name, tensor, config: tensor
    transposed: tuple[str, ...] = ()  # parts of names whose matrices lie the other way (Conv1D)


def shape_of(config: Config) -> Shape:
    """The row of a model's architecture.

    Raises:
        FinetuneError: there is none, or the config has an option that llama.cpp does not.
    """
    if config.model_type not in SHAPES:
        raise FinetuneError(
            f"GGUF is not written for the architecture {config.model_type!r}",
            where="gguf",
            remedy=f"It is for {', '.join(sorted(SHAPES))}; the other formats take any.",
        )
    for field, is_wanted, why in REFUSED.get(config.model_type, ()):
        if not is_wanted(getattr(config, field, None), config):
            raise FinetuneError(
                f"GGUF is not written for {config.model_type} with `{field}: "
                f"{getattr(config, field)}`: {why}",
                where="gguf",
                remedy="The other formats take it.",
            )
    return SHAPES[config.model_type]


def extra_tensors(config: Config) -> dict[str, Tensor]:
    """Tensors of GGUF that transformers computes: Llama 3's factors of rotary frequencies."""
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "llama3":
        return {}
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    width = _head_width(config)
    plain = 1.0 / rope["rope_theta"] ** (torch.arange(0, width, 2).float() / width)
    return {"rope_freqs.weight": plain / scaled}


def _head_width(config: Config) -> int:
    own = getattr(config, "head_dim", None)
    return int(own or config.hidden_size // config.num_attention_heads)


def _decoder(writer: GGUFWriter, config: Config) -> None:
    """What the descendants of Llama have in common."""
    width = _head_width(config)
    window = getattr(config, "sliding_window", None) if config.model_type == "mistral" else None
    # llama.cpp attends to everything: up to the window this is the same model, beyond it is not.
    writer.add_context_length(min(config.max_position_embeddings, window or 1 << 62))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    _rope(writer, config, width)


def _rope(writer: GGUFWriter, config: Config, width: int) -> None:
    rope = getattr(config, "rope_parameters", None) or {}
    rope = rope.get("full_attention", rope)
    kind = rope.get("rope_type", "default")
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10000.0)))
    writer.add_rope_dimension_count(int(width * rope.get("partial_rotary_factor", 1.0)))
    if kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    elif kind not in {"default", "llama3"}:
        raise FinetuneError(
            f"GGUF is not written for rotary positions of the type {kind!r}",
            where="gguf",
            remedy="It is for default, linear and llama3; the other formats take any.",
        )


def _mixtral(writer: GGUFWriter, config: Config) -> None:
    _decoder(writer, config)
    writer.add_expert_count(config.num_local_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)


def _gemma2(writer: GGUFWriter, config: Config) -> None:
    _decoder(writer, config)
    writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
    writer.add_final_logit_softcapping(config.final_logit_softcapping)
    writer.add_sliding_window(config.sliding_window)


def _gemma3(writer: GGUFWriter, config: Config) -> None:
    _decoder(writer, config)
    writer.add_sliding_window(config.sliding_window)


def _phi3(writer: GGUFWriter, config: Config) -> None:
    _decoder(writer, config)
    writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
    writer.add_sliding_window(config.sliding_window or 0)


def _gpt2(writer: GGUFWriter, config: Config) -> None:
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


def _gpt_neox(writer: GGUFWriter, config: Config) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_parallel_residual(config.use_parallel_residual)
    _rope(writer, config, config.hidden_size // config.num_attention_heads)


def _mpt(writer: GGUFWriter, config: Config) -> None:
    writer.add_context_length(config.max_seq_len)
    writer.add_embedding_length(config.d_model)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(4 * config.d_model)
    writer.add_head_count(config.n_heads)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_max_alibi_bias(config.attn_config.alibi_bias_max)
    if config.attn_config.clip_qkv:
        writer.add_clamp_kqv(config.attn_config.clip_qkv)


def _interleave(name: str, tensor: Tensor, config: Config) -> Tensor:
    """Queries and keys as llama.cpp rotates them: neighbours in pairs, not halves of a head."""
    if ".attn_q." in name:
        heads = config.num_attention_heads
    elif ".attn_k." in name:
        heads = config.num_key_value_heads
    else:
        return tensor
    halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def _norm_plus_one(name: str, tensor: Tensor, config: Config) -> Tensor:
    """Gemma's norms count from one; GGUF holds the whole factor."""
    return tensor + 1 if name.endswith("norm.weight") else tensor


def _three_blocks(name: str, tensor: Tensor, config: Config) -> Tensor:
    """GPT-NeoX holds query, key and value head by head; llama.cpp wants all queries first."""
    if ".attn_qkv." not in name:
        return tensor
    heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    by_head = tensor.reshape(heads, 3, width, *tensor.shape[1:])
    return by_head.swapaxes(0, 1).reshape(tensor.shape)


SHAPES: dict[str, Shape] = {
    "llama": Shape(MODEL_ARCH.LLAMA, _decoder, _interleave),
    "mistral": Shape(MODEL_ARCH.LLAMA, _decoder, _interleave),
    "mixtral": Shape(MODEL_ARCH.LLAMA, _mixtral, _interleave),
    "qwen2": Shape(MODEL_ARCH.QWEN2, _decoder),
    "qwen3": Shape(MODEL_ARCH.QWEN3, _decoder),
    "gemma": Shape(MODEL_ARCH.GEMMA, _decoder, _norm_plus_one),
    "gemma2": Shape(MODEL_ARCH.GEMMA2, _gemma2, _norm_plus_one),
    "gemma3_text": Shape(MODEL_ARCH.GEMMA3, _gemma3, _norm_plus_one),
    "phi3": Shape(MODEL_ARCH.PHI3, _phi3),
    "gpt2": Shape(
        MODEL_ARCH.GPT2, _gpt2, transposed=("attn_qkv", "attn_output", "ffn_up", "ffn_down")
    ),
    "gpt_neox": Shape(MODEL_ARCH.GPTNEOX, _gpt_neox, _three_blocks),
    "mpt": Shape(MODEL_ARCH.MPT, _mpt),
}

# (field, what it may be, why not otherwise)
Rule = tuple[str, Callable[[Any, Config], bool], str]
_WINDOW: Rule = (
    "use_sliding_window", lambda value, _: not value, "llama.cpp attends to everything there"
)  # fmt: skip
_SCALE: Rule = (
    "query_pre_attn_scalar",
    lambda value, config: value == config.head_dim,
    "llama.cpp scales by the width of a head",
)
REFUSED: dict[str, tuple[Rule, ...]] = {
    "qwen2": (_WINDOW,),
    "qwen3": (_WINDOW,),
    "gemma2": (_SCALE,),
    "gemma3_text": (_SCALE,),
    "gpt2": (
        (
            "scale_attn_by_inverse_layer_idx",
            lambda value, _: not value,
            "llama.cpp scales every layer alike",
        ),
        ("activation_function", lambda value, _: value == "gelu_new", "llama.cpp takes gelu_new"),
    ),
    "mpt": (
        (
            "attn_config",
            lambda value, _: value.alibi and not value.qk_ln and value.softmax_scale is None,
            "llama.cpp takes ALiBi, without norms of queries or a scale of its own",
        ),
        ("no_bias", lambda value, _: value, "llama.cpp's MPT has no biases here"),
    ),
}
