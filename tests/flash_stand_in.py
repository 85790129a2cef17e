"""The `flash_attn` package by its formula, on any device and in any number format.

What transformers does around it (padding, packed rows, windows) is then transformers' own.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch


def flash_attn_func(
    q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0
):
    """Attention of (rows, tokens, heads, width); queries stand at the end of the keys."""
    q, k, v = (each.transpose(1, 2) for each in (q, k, v))
    k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for each in (k, v))
    scores = q @ k.transpose(-1, -2) * (softmax_scale or q.shape[-1] ** -0.5)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    at = torch.arange(k.shape[2] - q.shape[2], k.shape[2])[:, None]
    other = torch.arange(k.shape[2])[None]
    hidden = (other > at) & causal
    if window_size[0] >= 0:
        hidden = hidden | (other < at - window_size[0])
    scores = scores.masked_fill(hidden, -torch.inf)
    weights = scores.float().softmax(-1).to(v.dtype)
    return (weights @ v).transpose(1, 2)


def flash_attn_varlen_func(
    q,
    k,
    v,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
):
    """The same of rows that lie end to end, (tokens, heads, width); `cu_seqlens` are their ends."""
    ends = [torch.as_tensor(each).tolist() for each in (cu_seqlens_q, cu_seqlens_k)]
    rows = []
    for from_q, to_q, from_k, to_k in zip(ends[0], ends[0][1:], ends[1], ends[1][1:], strict=False):
        rows.append(
            flash_attn_func(
                q[None, from_q:to_q],
                k[None, from_k:to_k],
                v[None, from_k:to_k],
                softmax_scale=softmax_scale,
                causal=causal,
                window_size=window_size,
                softcap=softcap,
            )[0]
        )
    return torch.cat(rows)


def install(monkeypatch):
    """Have transformers take this for the package, and a CPU for a device that it runs on."""
    from transformers import modeling_flash_attention_utils as around

    package, padding = ModuleType("flash_attn"), ModuleType("flash_attn.bert_padding")
    package.__spec__ = ModuleSpec("flash_attn", None)
    package.flash_attn_func = flash_attn_func
    package.flash_attn_varlen_func = flash_attn_varlen_func
    package.flash_attn_with_kvcache = None
    padding.pad_input, padding.unpad_input = around._pad_input, around._unpad_input
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    monkeypatch.setitem(sys.modules, "flash_attn.bert_padding", padding)
    monkeypatch.setattr(around, "is_flash_attn_2_available", lambda: True)
    monkeypatch.setattr(around, "_loaded_implementation", None)
    here = {
        "general_availability_check": lambda: True,
        "supported_devices": ((lambda: True, "cpu"),),
    }
    known = {**around.FLASH_ATTENTION_COMPATIBILITY_MATRIX[2], **here}
    monkeypatch.setitem(around.FLASH_ATTENTION_COMPATIBILITY_MATRIX, 2, known)
