"""Two ranks run a chain of fakes that meet and add numbers: the program of test_chain_ranks."""

import json
import os
import resource
import signal
import sys
from pathlib import Path

import chain_fakes

from finetune import cli, ranks, stages
from finetune.chain import inside
from finetune.commands import command
from finetune.errors import DataError
from finetune.job import Result

LIMIT = 1 << 30  # bytes that a rank may take beside what it has


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
    fail = settings.get("fail")
    if fail and settings["fail_rank"] == ranks.rank():
        end(fail)
    if fail:
        dist.all_reduce(total)  # the others wait here
    if not ranks.is_main():
        return Result()
    result = chain_fakes.run(stage, job)
    result.facts["total"] = total.item()
    return result


def end(how):
    """Fail as this rank alone does."""
    import torch

    match how:
        case "row":
            raise DataError(f"rank {ranks.rank()} cannot read its rows", remedy="Mend them.")
        case "bug":
            raise ZeroDivisionError("shapes differ")
        case "memory":
            held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (held + LIMIT, held + LIMIT))
            torch.ones(4 * LIMIT)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "rank killed":
            os.kill(os.getppid(), signal.SIGKILL)
            signal.pause()


def use():
    """Put these fakes into the table of stages."""
    stages.MODULES.update(dict.fromkeys(stages.MODULES, Path(__file__).stem))
    inside._audited = lambda plan: []


if __name__ == "__main__":
    use()
    folder, changes = Path(sys.argv[1]), json.loads(sys.argv[2])
    command._load = lambda parsed: chain_fakes.recipe(folder, **changes)
    cli.main(["run", "fake.yaml"])
