"""Most memory that a merge takes, against the size of the merged model.

    python benchmarks/merge_memory.py

Makes a base of about 0.5 GB of random weights in shards, puts a LoRA adapter on it, and merges it
in processes of their own: the merge alone, layer by layer; the whole merge stage, which opens both
models to compare them; and PEFT's merge_and_unload as the documentation shows it. What Python and
the libraries hold before is taken off.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHARD = "100MB"


def make(folder: Path, hidden: int) -> tuple[Path, Path]:
    """A base and an adapter on it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from finetune.models.tokenizers import load_tokenizer
    from finetune.recipe.types import Base

    config = AutoConfig.for_model(
        "llama",
        vocab_size=8192,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=12,
        num_attention_heads=8,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder / "base", max_shard_size=SHARD)
    lora = LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(folder / "adapter")
    load_tokenizer(Base(model="tiny-mistral"))[0].save_pretrained(folder / "base")
    return folder / "base", folder / "adapter"


def by_layer(base: Path, adapter: Path, out: Path) -> None:
    """The merge stage's way."""
    from finetune.job import ModelRef
    from finetune.models.merging import merge
    from finetune.recipe.types import Base

    ref = ModelRef(base=Base(model=str(base), dtype="float32"), adapters=(adapter,))
    merge(ref, "full_precision", out, limit=100_000_000)


def stage(base: Path, adapter: Path, out: Path) -> None:
    """The merge with its comparison, as a recipe runs it."""
    from finetune.job import Job, ModelRef
    from finetune.recipe.types import Base, Merge
    from finetune.stages import merge

    ref = ModelRef(base=Base(model=str(base), dtype="float32"), adapters=(adapter,))
    out.mkdir()
    merge.run(Merge(name="merge"), Job(name="merge", out=out, seed=1, model=ref))


def plain(base: Path, adapter: Path, out: Path) -> None:
    """PEFT's documentation."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    merged.save_pretrained(out, max_shard_size=SHARD)


def measured(function: Any, arguments: tuple[Path, ...], answer: Any) -> None:
    """Bytes above what the imports hold, and seconds."""
    import peft  # noqa: F401
    import transformers

    import finetune.stages.merge  # noqa: F401

    transformers.logging.disable_progress_bar()
    before, started = _held(), time.monotonic()
    function(*arguments)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    answer.put((most - before, time.monotonic() - started))


def _held() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hidden", type=int, default=768, help="width; 768 makes 0.5 GB")
    hidden = parser.parse_args().hidden
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        maker = context.Process(target=make, args=(folder, hidden))
        maker.start()
        maker.join()
        size = sum(file.stat().st_size for file in (folder / "base").glob("*.safetensors"))
        sys.stdout.write(f"merged size {size / 1e9:.2f} GB\n")
        for function in (by_layer, stage, plain):
            answer = context.Queue()
            places = (folder / "base", folder / "adapter", folder / function.__name__)
            process = context.Process(target=measured, args=(function, places, answer))
            process.start()
            memory, seconds = answer.get()
            process.join()
            sys.stdout.write(
                f"{function.__name__:<9} {memory / 1e9:.2f} GB at most, {memory / size:.2f} of "
                f"the merged size, {seconds:.1f} s\n"
            )


if __name__ == "__main__":
    main()
