"""A tokenizer as GGUF holds it: tokens, their types, and merges or scores."""

from __future__ import annotations

import json
from typing import Any

from gguf import GGUFWriter, TokenType

from finetune.data.tokens import stop_ids
from finetune.errors import FinetuneError

# llama.cpp keeps the pattern that splits text before merging in its own code, under a name. These
# are the patterns of the tokenizers library that each name stands for.
GPT2 = "ByteLevel"  # the library's own pattern, that of GPT-2
DIGITS = "Digits"  # each digit apart
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# (patterns in order, whether a word that is a token is taken whole) -> the name
PRE_TOKENIZERS: dict[tuple[tuple[str, ...], bool], str] = {
    ((GPT2,), False): "gpt-2",
    ((DIGITS, GPT2), False): "smollm",
    ((LLAMA3,), True): "llama-bpe",
    ((LLAMA3,), False): "dbrx",
    ((QWEN2,), False): "qwen2",
    ((TEKKEN,), True): "tekken",
}


def add_vocabulary(writer: GGUFWriter, tokenizer: Any, rows: int) -> None:
    """Write the tokenizer with its chat template; `rows` are those of the embedding.

    Raises:
        FinetuneError: llama.cpp has no tokenizer that splits text in this way.
    """
    check_vocabulary(tokenizer)
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    pieces, types = _tokens(data, rows)
    model = data["model"]
    if model.get("byte_fallback"):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(_scores(model, pieces))
        writer.add_add_space_prefix(_adds_space(data))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre_tokenizer(data))
        writer.add_token_merges([" ".join(_pair(each)) for each in model["merges"]])
    writer.add_token_list(pieces)
    writer.add_token_types(types)
    _special(writer, tokenizer)


def check_vocabulary(tokenizer: Any) -> None:
    """Find out whether the tokenizer can be written.

    Raises:
        FinetuneError: llama.cpp has no tokenizer that splits text in this way.
    """
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    model = data["model"]
    if model["type"] != "BPE":
        raise _unknown(f"the kind {model['type']}", "BPE")
    if not model.get("byte_fallback"):
        pre_tokenizer(data)


def pre_tokenizer(data: dict[str, Any]) -> str:
    """llama.cpp's name for the way a byte-level tokenizer splits text.

    Raises:
        FinetuneError: it has none.
    """
    patterns = tuple(_patterns(data.get("pre_tokenizer")))
    name = PRE_TOKENIZERS.get((patterns, bool(data["model"].get("ignore_merges"))))
    if name is None:
        known = ", ".join(sorted(set(PRE_TOKENIZERS.values())))
        raise _unknown(f"splitting by {' then '.join(patterns) or 'nothing'}", known)
    return name


def _unknown(what: str, known: str) -> FinetuneError:
    return FinetuneError(
        f"llama.cpp has no tokenizer of {what}, so a GGUF file would read text otherwise",
        where="gguf",
        remedy=f"GGUF is written for {known}; the other formats take any tokenizer.",
    )


def _patterns(part: dict[str, Any] | None) -> list[str]:
    """What splits text, in order; a part that llama.cpp cannot have is named by its JSON."""
    if part is None:
        return []
    kind = part["type"]
    if kind == "Sequence":
        return [each for inner in part["pretokenizers"] for each in _patterns(inner)]
    if kind == "ByteLevel" and not part.get("add_prefix_space"):
        return [GPT2] if part.get("use_regex", True) else []
    if kind == "Digits" and part.get("individual_digits"):
        return [DIGITS]
    if kind == "Split" and part.get("behavior") == "Isolated" and not part.get("invert"):
        return [str(part["pattern"].get("Regex", part["pattern"]))]
    return [json.dumps(part)]


def _tokens(data: dict[str, Any], rows: int) -> tuple[list[str], list[TokenType]]:
    """Pieces by id and their types; rows of the embedding without a token are filled up."""
    pieces = [f"[PAD{number}]" for number in range(rows)]
    types = [TokenType.UNUSED] * rows
    for piece, number in data["model"]["vocab"].items():
        if number >= rows:
            continue  # no embedding, so no model has ever seen it
        pieces[number] = piece
        is_byte = data["model"].get("byte_fallback") and _is_byte(piece)
        types[number] = TokenType.BYTE if is_byte else TokenType.NORMAL
    for token in data["added_tokens"]:
        if token["id"] >= rows:
            continue
        pieces[token["id"]] = token["content"]
        special = token["special"]
        types[token["id"]] = TokenType.CONTROL if special else TokenType.USER_DEFINED
    unknown = data["model"].get("unk_token")
    if unknown in data["model"]["vocab"]:
        types[data["model"]["vocab"][unknown]] = TokenType.UNKNOWN
    return pieces, types


def _is_byte(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")


def _scores(model: dict[str, Any], pieces: list[str]) -> list[float]:
    """llama.cpp merges the pair whose whole scores best: minus the rank of its first merge."""
    best: dict[str, float] = {}
    for rank, merge in enumerate(model["merges"]):
        best.setdefault("".join(_pair(merge)), -float(rank))
    least = -float(len(model["merges"]) + 1)
    return [best.get(piece, least) for piece in pieces]


def _pair(merge: str | list[str]) -> list[str]:
    return merge.split(" ", 1) if isinstance(merge, str) else list(merge)


def _adds_space(data: dict[str, Any]) -> bool:
    text = json.dumps([data.get("normalizer"), data.get("pre_tokenizer")])
    return (
        '"Prepend"' in text
        or '"prepend_scheme": "first"' in text
        or ('"prepend_scheme": "always"' in text)
    )


def _special(writer: GGUFWriter, tokenizer: Any) -> None:
    named = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "unk": tokenizer.unk_token_id,
        "pad": tokenizer.pad_token_id,
    }
    for name, number in named.items():
        if number is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    turn = [number for number in stop_ids(tokenizer) if number != tokenizer.eos_token_id]
    if turn:
        writer.add_eot_token_id(turn[0])
    ids = tokenizer("a").input_ids
    writer.add_add_bos_token(bool(ids) and ids[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(bool(ids) and ids[-1] == tokenizer.eos_token_id)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
