"""The ranks of one stage as a process group of their own; used inside a stage's process."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from finetune import ranks
from finetune.chain.child import has_accelerator

# Rank 0 may write a large model before the others meet it again.
PATIENCE = timedelta(hours=2)
_served: list[Any] = []  # rank 0's store, for as long as its process lives


def prepare() -> None:
    """Tell DeepSpeed that there is no accelerator, and have its ranks talk over gloo alone.

    Its operator for memory that ranks share is compiled at first use: a minute, gcc, ninja, and a
    processor with AVX2, without which the ranks wait for each other for ever.
    """
    if has_accelerator():
        return
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        import deepspeed.ops

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def join(index: int) -> None:
    """Meet the other ranks; `index` counts the groups of this run."""
    if ranks.world_size() == 1:
        return
    _new_address(index)
    _forget_the_parent()
    _state().wait_for_everyone()


def leave() -> None:
    """Wait until every rank has finished: rank 0 holds the store that the others still use."""
    if ranks.world_size() == 1:
        return
    import torch.distributed as dist

    _state().wait_for_everyone()
    if dist.is_initialized():
        dist.destroy_process_group()


def everyones(value: Any) -> list[Any]:
    """The values of all ranks, in order."""
    if ranks.world_size() == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * ranks.world_size()
    dist.all_gather_object(values, value)
    return values


def _forget_the_parent() -> None:
    """Have accelerate look at the processes anew.

    A fork takes over what its parent told accelerate of itself; told that it was alone, every rank
    would take its own share of a result for the whole.
    """
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def _state() -> Any:
    from accelerate import PartialState

    if has_accelerator():
        return PartialState(timeout=PATIENCE)
    return PartialState(cpu=True, backend="gloo", timeout=PATIENCE)


def _new_address(index: int) -> None:
    """An address for this group: the launcher's store keeps the keys of the group before.

    Rank 0 serves a store of its own, at a port that the system gives it with the socket already
    bound, and tells the others through the launcher's store, where there is one.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        os.environ["MASTER_PORT"] = str(int(os.environ["MASTER_PORT"]) + 1 + index)
        return
    import torch.distributed as dist

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(host, port, is_master=False, timeout=PATIENCE)
    place = f"finetune/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{index}"
    if ranks.is_main():
        _served.append(dist.TCPStore(host, 0, is_master=True, wait_for_workers=False))
        store.set(place, str(_served[-1].port))
    os.environ["MASTER_PORT"] = store.get(place).decode()
