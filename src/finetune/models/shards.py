"""Weights on disk read and written tensor by tensor, so that no more than a shard is in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from finetune.errors import FinetuneError
from finetune.models.tokenizers import source
from finetune.recipe.types import Base

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
LIMIT = 2_000_000_000  # bytes of a shard


class Shards:
    """The tensors of a checkpoint by name; a file is open only while one of them is read."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    @classmethod
    def of_base(cls, base: Base) -> Shards:
        """Those of a base's folder, or of the hub's copy on this machine.

        Raises:
            FinetuneError: a file is damaged, or there are no safetensors.
        """
        if index := _file(base, INDEX):
            names: dict[str, str] = json.loads(index.read_text("utf-8"))["weight_map"]
            shards = {shard: _file(base, shard) for shard in sorted(set(names.values()))}
            if missing := [shard for shard, path in shards.items() if path is None]:
                raise _unreadable(base, f"{missing[0]} is missing")
            return cls({name: shards[shard] for name, shard in names.items()})  # type: ignore[misc]
        whole = _file(base, WHOLE)
        if whole is None:
            raise _unreadable(base, f"there is neither {WHOLE} nor {INDEX}")
        try:
            return cls(dict.fromkeys(tensor_names(whole), whole))
        except Exception as error:
            raise _unreadable(base, f"{whole.name} cannot be read: {error}") from error

    @classmethod
    def of_folder(cls, folder: Path) -> Shards:
        """Those of a folder that `save_pretrained` wrote."""
        return cls.of_base(Base(model=str(folder)))

    @property
    def names(self) -> list[str]:
        """Every tensor, in the order of the files."""
        return list(self._files)

    @property
    def files(self) -> list[Path]:
        """The files that hold them, the index included."""
        shards = list(dict.fromkeys(self._files.values()))
        index = shards[0].with_name(INDEX)
        return [*shards, index] if len(shards) > 1 else shards

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one tensor, read from its file's header."""
        from safetensors import safe_open

        with safe_open(self._files[name], framework="pt") as file:
            return tuple(file.get_slice(name).get_shape())

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def read(self, name: str) -> torch.Tensor:
        """A copy in memory of its own."""
        from safetensors import safe_open

        with safe_open(self._files[name], framework="pt") as file:
            return file.get_tensor(name).clone()


def tensor_names(file: Path) -> list[str]:
    """Names of the tensors in a safetensors file."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return list(opened.keys())


def _file(base: Base, name: str) -> Path | None:
    from transformers.utils import cached_file

    found = cached_file(
        source(base),
        name,
        revision=base.revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return Path(found) if found else None


def _unreadable(base: Base, why: str) -> FinetuneError:
    return FinetuneError(
        f"the base's weights cannot be read: {why}",
        where=str(base.model),
        remedy="Give base.model a folder that save_pretrained wrote (safetensors), whole.",
    )


class ShardWriter:
    """Tensors written as `save_pretrained` would: one file, or several with an index."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self._folder, self._limit = folder, limit
        self._pending: dict[str, torch.Tensor] = {}
        self._parts: list[list[str]] = []
        self._bytes = self._total = 0
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Take one tensor; written when a shard is full."""
        size = tensor.numel() * tensor.element_size()
        if self._pending and self._bytes + size > self._limit:
            self._flush()
        self._pending[name] = tensor.detach().contiguous()
        self._bytes += size
        self._total += size

    def close(self) -> None:
        """Write what is left, and give the shards their final names."""
        self._flush()
        count = len(self._parts)
        if count == 1:
            self._part(1).rename(self._folder / WHOLE)
            return
        names: dict[str, str] = {}
        for number, tensors in enumerate(self._parts, start=1):
            shard = f"model-{number:05}-of-{count:05}.safetensors"
            self._part(number).rename(self._folder / shard)
            names |= dict.fromkeys(tensors, shard)
        index: dict[str, Any] = {"metadata": {"total_size": self._total}, "weight_map": names}
        text = json.dumps(index, indent=2, sort_keys=True)
        (self._folder / INDEX).write_text(f"{text}\n", encoding="utf-8")

    def _flush(self) -> None:
        from safetensors.torch import save_file

        if not self._pending:
            return
        self._parts.append(list(self._pending))
        save_file(self._pending, self._part(len(self._parts)), metadata={"format": "pt"})
        self._pending, self._bytes = {}, 0

    def _part(self, number: int) -> Path:
        return self._folder / f"model-{number:05}.part"
