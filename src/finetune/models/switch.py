"""Several models that share a base, opened on one copy of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

from finetune.job import ModelRef
from finetune.models.identity import check_identity
from finetune.models.load import free_memory, open_base
from finetune.models.stack import at_work, method_of, put_on
from finetune.recipe.types import Base


def by_base(refs: Mapping[str, ModelRef]) -> list[tuple[Base, dict[str, ModelRef]]]:
    """The models grouped by the base they stand on, in the order given.

    Adapters of different methods cannot lie on one base together: each method has its group.
    """
    groups: list[tuple[Base, dict[str, ModelRef]]] = []
    methods: list[str] = []  # of each group; empty while it holds the plain base alone
    for name, ref in refs.items():
        method = method_of(ref.adapter) if ref.adapter else ""
        for number, (base, models) in enumerate(groups):
            if base == ref.base and (not method or methods[number] in ("", method)):
                models[name] = ref
                methods[number] = methods[number] or method
                break
        else:
            groups.append((ref.base, {name: ref}))
            methods.append(method)
    return groups


def opened(base: Base, refs: Mapping[str, ModelRef]) -> Iterator[tuple[str, Any]]:
    """Yield each model by name, all on one base in memory; adapters are switched, not merged."""
    model = open_base(base)
    folders = dict.fromkeys(folder for ref in refs.values() for folder in ref.adapters)
    names = {folder: f"adapter{number}" for number, folder in enumerate(folders)}
    if names:
        for ref in refs.values():
            check_identity(ref)
        model = put_on(model, names)
    for name, ref in refs.items():
        if ref.adapters:
            model.base_model.set_adapter([names[each] for each in at_work(ref.adapters)])
        plain = names and not ref.adapters
        with model.disable_adapter() if plain else nullcontext():
            yield name, model
    del model
    free_memory()
