"""Two ranks run a chain of fakes that meet and add numbers: the program of test_chain_ranks."""

import json
import sys
from pathlib import Path

import chain_fakes

from finetune import cli, ranks, stages
from finetune.commands import command
from finetune.errors import DataError
from finetune.job import Result


def check(stage, job):
    chain_fakes.check(stage, job)
    if ranks.rank() == 1 and stage.kind == "dpo" and stage.train.get("check_rank_1"):
        raise DataError("only rank 1 sees this")


def run(stage, job):
    """Every rank adds its number; rank 0 writes what the fake writes."""
    import torch
    import torch.distributed as dist

    assert job.model.adapter is None or (job.model.adapter / "value.txt").exists()
    total = torch.tensor(float(ranks.rank() + 1))
    dist.all_reduce(total)
    settings = getattr(stage, "train", {})
    if settings.get("fail_rank") == ranks.rank():
        raise DataError(f"rank {ranks.rank()} cannot read its rows", remedy="Mend them.")
    if not ranks.is_main():
        if settings.get("fail_rank") is not None:
            dist.barrier()
        return Result()
    if settings.get("fail_rank") is not None:
        dist.barrier()
    result = chain_fakes.run(stage, job)
    result.facts["total"] = total.item()
    return result


stages.MODULES.update(dict.fromkeys(stages.MODULES, Path(__file__).stem))

if __name__ == "__main__":
    folder, changes = Path(sys.argv[1]), json.loads(sys.argv[2])
    command._load = lambda parsed: chain_fakes.recipe(folder, **changes)
    cli.main(["run", "fake.yaml"])
