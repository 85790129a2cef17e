"""Bytes of the tensors that are alive, followed operation by operation."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# What asks for a tensor's numbers.
ASKS = (torch.ops.aten.nonzero.default, torch.ops.aten._local_scalar_dense.default)


class Live(TorchDispatchMode):
    """Within it every storage counts from its birth to its death, for the part being worked on.

    Meant for `FakeTensorMode`, where storages have a size and no content. What an operation takes
    only while it runs is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.part = self.phase = ""
        self.now: Counter[str] = Counter()
        self.peaks: dict[str, Counter[str]] = {}  # of each phase, by part
        self._known: dict[int, list[Any]] = {}  # storage: its part, and its size
        self._experts = 1  # of the layer at work

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation and count the storages it made."""
        if func is torch.ops.aten._grouped_mm.default:
            out = _grouped(*args, **(kwargs or {}))
        elif func in ASKS and isinstance(args[0], FakeTensor):
            if func is torch.ops.aten._local_scalar_dense.default:
                return 0  # of checks, as `one_hot` has
            out = self._routed(args[0])
        else:
            out = func(*args, **(kwargs or {}))
        self.hold(out)
        return out

    def hold(self, tensors: Any) -> None:
        """Count these tensors' storages, if they are not counted yet."""
        for each in tree_leaves(tensors):
            if isinstance(each, torch.Tensor):
                self._add(each.untyped_storage())
        self._look()

    def turn(self, part: str, phase: str = "") -> None:
        """What is made from here on belongs to `part`, and the peak to `phase`."""
        self.part, self.phase = part, phase
        self._look()

    def claim(self, tensor: torch.Tensor, part: str) -> None:
        """Have a tensor that is counted already belong to `part`."""
        entry = self._known[tensor.untyped_storage()._cdata]
        self.now[entry[0]] -= entry[1]
        self.now[part] += entry[1]
        entry[0] = part

    def _routed(self, mask: torch.Tensor) -> torch.Tensor:
        """Where a mask of experts is set, if each is given as many tokens as the next.

        Of the experts that are used (experts and none), or of one's tokens (choices, tokens).
        """
        if mask.dim() == 1:
            self._experts = len(mask) - 1
            return mask.new_empty((self._experts, 1), dtype=torch.long)
        size = -(-mask.numel() // self._experts)
        return mask.new_empty((size, mask.dim()), dtype=torch.long)

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._known:
            self._known[key] = [self.part, storage.nbytes()]
            self.now[self.part] += storage.nbytes()
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        part, size = self._known.pop(key)
        self.now[part] -= size

    def _look(self) -> None:
        if self.now.total() > self.peaks.get(self.phase, Counter()).total():
            self.peaks[self.phase] = Counter(self.now)


def _grouped(a: torch.Tensor, b: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """Products of experts: without numbers torch 2.13 knows them in bfloat16 alone.

    (tokens, in) with (experts, in, out), or for gradients (out, tokens) with (tokens, in), whose
    result has a matrix for each expert: as many as there are offsets.
    """
    if b.dim() == 3:
        return a.new_empty(a.shape[0], b.shape[2])
    offsets = _[0] if _ else __["offs"]
    return a.new_empty(len(offsets), a.shape[0], b.shape[1])
