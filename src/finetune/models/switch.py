"""Several models that share a base, opened on one copy of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

from finetune.job import ModelRef
from finetune.models.load import free_memory, open_base
from finetune.recipe.types import Base


def by_base(refs: Mapping[str, ModelRef]) -> list[tuple[Base, dict[str, ModelRef]]]:
    """The models grouped by the base they stand on, in the order given."""
    groups: list[tuple[Base, dict[str, ModelRef]]] = []
    for name, ref in refs.items():
        group = next((models for base, models in groups if base == ref.base), None)
        if group is None:
            groups.append((ref.base, {name: ref}))
        else:
            group[name] = ref
    return groups


def opened(base: Base, refs: Mapping[str, ModelRef]) -> Iterator[tuple[str, Any]]:
    """Yield each model by name, all on one base in memory; adapters are switched, not merged."""
    model = open_base(base)
    adapters = {name: str(ref.adapter) for name, ref in refs.items() if ref.adapter}
    if adapters:
        from peft import PeftModel

        first, *others = adapters
        model = PeftModel.from_pretrained(model, adapters[first], adapter_name=first)
        for name in others:
            model.load_adapter(adapters[name], adapter_name=name)
        model.eval()
    for name in refs:
        if name in adapters:
            model.set_adapter(name)
        plain = adapters and name not in adapters
        with model.disable_adapter() if plain else nullcontext():
            yield name, model
    del model
    gc.collect()
    free_memory()
