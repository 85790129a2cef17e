"""One measurement of benchmarks/gpu.py: a line of JSON comes in, a line of JSON goes out."""

from __future__ import annotations

import json
import os
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from finetune.stages.quiet import hush

ANSWERS = sys.stdout
if __name__ == "__main__":  # what the libraries print, on import too, goes where errors go
    ANSWERS = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
hush()

import against_trl  # noqa: E402
import gpu_training  # noqa: E402
import torch  # noqa: E402
from peft import LoraConfig, PeftModel, get_peft_model  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

import finetune.stages.dpo  # noqa: E402
import finetune.stages.sft  # noqa: E402, F401
from finetune.chain import provenance  # noqa: E402
from finetune.chain.child import has_accelerator  # noqa: E402
from finetune.data.shorten import render  # noqa: E402
from finetune.job import ModelRef  # noqa: E402
from finetune.memory.hollow import hollow_base, put_on, to_cpu  # noqa: E402
from finetune.memory.live import Live  # noqa: E402
from finetune.memory.reading import writing  # noqa: E402
from finetune.models.generate import generate, generation_config, left_padded  # noqa: E402
from finetune.models.hardware import device, dtype, on_cpu  # noqa: E402
from finetune.models.load import open_base  # noqa: E402
from finetune.models.merging import merge  # noqa: E402
from finetune.models.tokenizers import load_tokenizer  # noqa: E402
from finetune.recipe.types import Base, Data  # noqa: E402
from finetune.tasks.examples import conversations, pairs  # noqa: E402

# Fields of the configs of mistralai/Mistral-7B-v0.1 and mosaicml/mpt-7b, without the window that
# no row here is long enough for.
SHAPES: dict[str, dict[str, Any]] = {
    "mistral-7b": {
        "model_type": "mistral",
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32768,
        "sliding_window": None,
    },
    "mpt-7b": {
        "model_type": "mpt",
        "vocab_size": 50432,
        "d_model": 4096,
        "n_heads": 32,
        "n_layers": 32,
        "max_seq_len": 2048,
    },
    "tiny-mistral": {
        "model_type": "mistral",
        "vocab_size": 4096,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
    },
    "tiny-mpt": {
        "model_type": "mpt",
        "vocab_size": 4096,
        "d_model": 64,
        "n_heads": 4,
        "n_layers": 2,
        "max_seq_len": 2048,
    },
}
# Rows trained on, pairs trained on, prompts answered, and tokens of an answer.
SIZES = {"7b": (192, 96, 64, 64), "tiny": (80, 64, 16, 16)}
AT_ONCE = 32  # prompts


def prepare(spec: dict[str, Any]) -> dict[str, Any]:
    """The base and an adapter, made on the device and written; rows; what a token costs."""
    folder, fields = Path(spec["folder"]), dict(SHAPES[spec["shape"]])
    tokenizer, _ = load_tokenizer(Base(model="tiny-mistral"))
    special = {n: getattr(tokenizer, n) for n in ("bos_token_id", "eos_token_id", "pad_token_id")}
    torch.manual_seed(1)
    with device():
        config = AutoConfig.for_model(fields.pop("model_type"), **fields, **special)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype("auto"))
    model.save_pretrained(folder / "base", max_shard_size="4GB")
    tokenizer.save_pretrained(folder / "base")
    lora = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **against_trl.LORA)
    get_peft_model(model, lora).save_pretrained(folder / "adapter")
    rows, chosen, _, _ = sizes(spec)
    talks = conversations(Data(task="samsum", rows=rows))
    preferred = pairs(Data(task="samsum", sample="samsum_preferences", rows=chosen))
    sft = [{"prompt": talk.messages[:-1], "completion": talk.messages[-1:]} for talk in talks]
    dpo = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in preferred]
    against_trl.write(folder / "sft.jsonl", sft)
    against_trl.write(folder / "dpo.jsonl", dpo)
    made = {"model": str(folder / "base"), "adapter": str(folder / "adapter"), "rows": str(folder)}
    return {"made": {**made, **flops(folder / "base")}, "machine": machine()}


def sizes(spec: dict[str, Any]) -> tuple[int, int, int, int]:
    """See `SIZES`."""
    return SIZES["7b" if spec["shape"].endswith("7b") else "tiny"]


def flops(folder: Path, length: int = 256) -> dict[str, float]:
    """Floating-point operations of a token in a row of `length`: forward, and with the backward
    pass that an adapter needs (none through the frozen weights' own gradients, none done twice).

    Counted by torch on a model without numbers; attention as if every token saw all others, as is
    the custom.
    """
    lora = LoraConfig(task_type="CAUSAL_LM", **against_trl.LORA)
    model = put_on(hollow_base(Base(model=str(folder)), torch.float32), [lora])
    counter = FlopCounterMode(display=False)  # which does not know a CPU's fused attention
    with FakeTensorMode(), Live() as live, sdpa_kernel(SDPBackend.MATH), counter:
        to_cpu(model, live)
        logits = model(input_ids=torch.zeros(1, length, dtype=torch.long), use_cache=False).logits
        forward = counter.get_total_flops()
        logits.sum().backward()
    return {"flops_forward": forward / length, "flops_trained": counter.get_total_flops() / length}


def machine() -> dict[str, Any]:
    """What is measured on."""
    about: dict[str, Any] = {"device": provenance.device(), "versions": provenance.versions()}
    if not on_cpu():
        about["memory_bytes"] = torch.cuda.get_device_properties(device()).total_memory
        about["peak_flops"] = gpu_training.peak_flops()
        about["cuda"] = torch.version.cuda
    return about


def evaluate(spec: dict[str, Any]) -> dict[str, Any]:
    """Tokens written a second. Random weights end no answer, so no row waits for others."""
    base = Base(model=spec["model"])
    tokenizer, _ = load_tokenizer(base)
    _, _, count, new = sizes(spec)
    rows = against_trl.read(Path(spec["rows"]) / "sft.jsonl")[:count]
    prompts = [render(tokenizer, row["prompt"], answer_follows=True) for row in rows]
    settings = {"max_new_tokens": new}
    plan = {"planned_bytes": planned(base, prompts, new)} if spec["way"] == "ours" else {}
    with gpu_training.measured() as found:
        model = open_base(base)
        cached = partial(_library, use_cache=True)  # which MPT's own config has switched off
        ways = {"ours": (count, _ours), "defaults": (1, _library), "by_hand": (AT_ONCE, cached)}
        size, write = ways[spec["way"]]
        write(model, tokenizer, prompts[:2], {"max_new_tokens": 4})  # not counted
        tokens, begun = 0, gpu_training.now()
        while prompts and gpu_training.now() - begun < spec["seconds"]:
            tokens += write(model, tokenizer, prompts[:size], settings)
            prompts = prompts[size:]
        seconds = gpu_training.now() - begun
    told = {"tokens_per_second": tokens / seconds, "prompts": count - len(prompts)}
    return {**found, **plan, **told}


def planned(base: Base, prompts: list[list[int]], new: int) -> int:
    """Bytes that `finetune plan` says such an evaluation will need."""
    rows, longest = min(AT_ONCE, len(prompts)), max(map(len, prompts))
    dtype_name = str(dtype("auto")).removeprefix("torch.")
    return sum(writing(base, [], dtype_name, rows=rows, prompt=longest, new=new).values())


def _ours(model: Any, tokenizer: Any, prompts: list[list[int]], settings: dict[str, Any]) -> int:
    answers = generate(
        model, tokenizer, prompts, settings=settings, batch_size=AT_ONCE, title="answers"
    )
    return sum(answer.tokens for answer in answers)


def _library(
    model: Any, tokenizer: Any, prompts: list[list[int]], settings: dict[str, Any], **more: Any
) -> int:
    ids, mask = (each.to(model.device) for each in left_padded(prompts, tokenizer.pad_token_id))
    config = generation_config(tokenizer, {**settings, **more})
    with torch.inference_mode():
        out = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
    return int((out[:, ids.shape[1] :] != tokenizer.pad_token_id).sum())


def merged(spec: dict[str, Any]) -> dict[str, Any]:
    """An adapter merged into its base, and written."""
    out, adapter = Path(spec["out"]) / "model", Path(spec["adapter"])
    with gpu_training.measured() as found:
        if spec["way"] == "ours":
            ref = ModelRef(base=Base(model=spec["model"]), adapters=(adapter,))
            merge(ref, "full_precision", out)
        else:  # as PEFT's documentation shows it
            model = AutoModelForCausalLM.from_pretrained(spec["model"], device_map={"": device()})
            PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
    return found


MEASURES = {
    "prepare": prepare,
    "sft_lora": partial(gpu_training.measure, "sft", None),
    "sft_qlora": partial(gpu_training.measure, "sft", against_trl.NF4),
    "dpo": partial(gpu_training.measure, "dpo", against_trl.NF4),
    "evaluate": evaluate,
    "merge": merged,
}


def answer(spec: dict[str, Any]) -> str:
    """What was measured, or what went wrong, as JSON."""
    try:
        return json.dumps({"status": "ok", **MEASURES[spec["kind"]](spec)})
    except BaseException as error:
        trace = traceback.format_exc().strip().splitlines()
        told = "".join(traceback.format_exception_only(error)).strip().splitlines()[0]
        return json.dumps({"status": "failed", "error": told, "trace": trace[-12:]})


def main() -> None:
    """Answer line after line."""
    for text in sys.stdin:
        told = answer(json.loads(text)) if has_accelerator() else _forked(json.loads(text))
        ANSWERS.write(f"{told}\n")
        ANSWERS.flush()


def _forked(spec: dict[str, Any]) -> str:
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        os.write(writer, answer(spec).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as stream:
        told = stream.read()
    _, code = os.waitpid(pid, 0)
    return told or json.dumps({"status": "failed", "error": f"its process ended with {code}"})


if __name__ == "__main__":
    main()
