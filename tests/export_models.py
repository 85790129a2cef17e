"""Small random models for the tests of exports: the shapes, and variants that GGUF writes apart."""

from pathlib import Path

from shapes import SHAPES, make_base

_LLAMA = SHAPES["llama"]
# name -> (model_type, fields that differ from the shape of that name, or all of them)
VARIANTS = {
    **{name: (name, {}) for name in SHAPES},
    "qwen2": ("qwen2", {**_LLAMA, "num_key_value_heads": 2}),
    "gemma": ("gemma", {**_LLAMA, "head_dim": 16}),
    "gemma3_text": (
        "gemma3_text",
        {
            **_LLAMA,
            "num_hidden_layers": 6,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 32,
        },
    ),
    "llama, linear positions": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
    ),
    "llama 3": (
        "llama",
        {
            "num_key_value_heads": 2,
            "rope_parameters": {
                "rope_type": "llama3",
                "factor": 8.0,
                "rope_theta": 500000.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
    ),
    "llama with biases": ("llama", {"attention_bias": True, "head_dim": 16}),
    "gpt_neox in sequence": ("gpt_neox", {"use_parallel_residual": False}),
    "mpt, clipped": ("mpt", {"attn_config": {"clip_qkv": 0.05}}),
    "mpt, six heads": ("mpt", {"d_model": 48, "n_heads": 6}),
}


def make(name: str, folder: Path) -> Path:
    """A random model whose vectors (norms, biases) are no ones and zeros."""
    import torch
    from transformers import AutoModelForCausalLM

    kind, fields = VARIANTS[name]
    make_base(kind if kind in SHAPES else "llama", folder, **(fields if kind in SHAPES else {}))
    if kind not in SHAPES:
        _write(kind, fields, folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder)
    return folder


def _write(kind: str, fields: dict, folder: Path) -> None:
    """A model in the place of another, with its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **fields, **ids)
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)


def write(folder: Path, file: Path, kind: str) -> Path:
    """The folder's model as GGUF, its tokenizer completed where it lacks something."""
    from transformers import AutoConfig

    from finetune.export.gguf_file import write_gguf
    from finetune.models.tokenizers import load_tokenizer
    from finetune.recipe.types import Base

    tokenizer, _ = load_tokenizer(Base(model=str(folder)))
    config = AutoConfig.from_pretrained(folder)
    write_gguf(folder, file, kind, config=config, tokenizer=tokenizer, name="test")
    return file


def logits(folder: Path, ids, **how):
    """Of plain transformers, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **how).eval()
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0]


def some_ids(count: int = 100, below: int = 380) -> list[int]:
    """Token ids that stand for nothing."""
    return [5 + (7 * n * n + 3 * n) % (below - 5) for n in range(count)]
