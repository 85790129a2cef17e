"""The architectures and number formats that bases are tested in: small, random, two layers each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# A shape per family of layers: `model_type` and the fields of its config class.
SHAPES: dict[str, dict[str, Any]] = {
    "mistral": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    },
    # ALiBi in place of positions; one fused projection; tied embeddings
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 256},
    "llama": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 256,
    },
    # norms of queries and keys, a head width of its own, tied embeddings
    "qwen3": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
    },
    # logits and scores bounded by tanh, local and global layers in turn, tied embeddings
    "gemma2": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 64,
        "max_position_embeddings": 256,
    },
    # fused projections of attention and of the gate
    "phi3": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "original_max_position_embeddings": 256,
    },
    # Pythia: attention and MLP in parallel, biases
    "gpt_neox": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
    },
    # Conv1D in place of Linear: weights lie transposed; tied embeddings
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    # experts fused into parameters of three dimensions
    "mixtral": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "max_position_embeddings": 256,
    },
}

# Fields of `Base` for each number format.
FORMATS: dict[str, dict[str, Any]] = {
    "fp32": {"dtype": "float32"},
    "bf16": {"dtype": "bfloat16"},
    "int8": {"dtype": "float32", "quantization": {"load_in_8bit": True}},
    "nf4": {
        "dtype": "float32",
        "quantization": {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
        },
    },
}

TEXT = [
    "Noor asks Ivan whether the parcel came to the neighbour. The lamp is red, its price 12.50.",
    "SELECT name FROM lamp WHERE colour = 'red' ORDER BY price DESC LIMIT 3",
    "We moved the meeting from Monday to Tuesday since half of the team is on a train.",
]


def make_base(kind: str, folder: Path, seed: int = 1, **fields: Any) -> Path:
    """Write a base of random weights in the shape of `kind`, with tokenizer and template.

    `fields` change the shape.
    """
    from finetune.models.load import new_base
    from finetune.models.tokenizers import train_tokenizer
    from finetune.recipe.types import Base

    tokenizer = train_tokenizer(TEXT * 9, 400, "chatml" if kind == "mpt" else "mistral")
    config = {"model_type": kind, **SHAPES[kind], **fields}
    special = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    model = new_base(Base(config={**config, **special}), len(tokenizer), seed=seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
