"""How each exported form is used, as the model card shows it."""

from __future__ import annotations

from finetune.export.names import shown
from finetune.recipe.types import Base, Export


def usage(stage: Export, name: str, base: Base) -> dict[str, str]:
    """{title: code} for the formats of an export; `stage.push` names the place if there is one."""
    place = stage.push or "."
    found: dict[str, str] = {}
    if "safetensors" in stage.formats:
        found["transformers, vLLM"] = _fenced(
            "python",
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            f'model = AutoModelForCausalLM.from_pretrained("{place}")\n'
            f'tokenizer = AutoTokenizer.from_pretrained("{place}")',
        ) + _fenced("shell", f"vllm serve {place}\ntransformers serve {place}")
    if "adapter" in stage.formats:
        sub = ', subfolder="adapter"' if len(stage.formats) > 1 else ""
        found["The adapter alone"] = _fenced(
            "python",
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
            f'base = AutoModelForCausalLM.from_pretrained("{shown(base.model or "")}")\n'
            f'model = PeftModel.from_pretrained(base, "{place}"{sub})',
        )
    if "gguf" in stage.formats:
        file = f"{name}-{stage.gguf[-1].upper()}.gguf"
        found["llama.cpp"] = _fenced("shell", f"llama-server -m {file} --jinja")
    if "ollama" in stage.formats:
        found["Ollama"] = _fenced("shell", f"ollama create {name} -f Modelfile\nollama run {name}")
    if "bnb4" in stage.formats:
        found["In 4 bits"] = _fenced(
            "python",
            "from transformers import AutoModelForCausalLM\n\n"
            f'model = AutoModelForCausalLM.from_pretrained("{place}", subfolder="bnb4")',
        )
    return found


def _fenced(language: str, code: str) -> str:
    return f"```{language}\n{code}\n```\n"
