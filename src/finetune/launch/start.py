"""A command under `accelerate launch` with a profile, in this very process."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from typing import Any, NoReturn

from finetune import console
from finetune.errors import FinetuneError
from finetune.launch import refused, sharing
from finetune.launch.machines import from_environment
from finetune.launch.profiles import Profile

# Time for the other machines to end by themselves, with the exit code of what went wrong, before
# a scheduler ends them for ours.
OTHER_MACHINES_SECONDS = 10.0


def start(profile: Profile, processes: int | None, command: list[str]) -> NoReturn:
    """Run `finetune COMMAND` under the profile; does not return.

    Args:
        processes: in all, on all machines; None for as many as there are GPUs.
        command: words after `finetune`.

    Raises:
        FinetuneError: the profile does not fit this machine, or DeepSpeed is not installed.
    """
    from accelerate.commands import launch

    _require(profile)
    gpus = _gpus(profile)
    options = arguments(profile, processes, gpus)
    parser = launch.launch_command_parser()
    parsed = parser.parse_args([*options, "--module", "finetune", *command])
    if profile.alone:
        parsed, _, _ = launch._validate_launch_command(parsed)
        words, environment = launch.prepare_simple_launcher_cmd_env(parsed)
        os.execvpe(words[0], words, environment)
    if profile.deepspeed_file and not gpus:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    sys.exit(_launched(launch.launch_command, parsed))


def arguments(profile: Profile, processes: int | None, gpus: int) -> list[str]:
    """What `accelerate launch` is told beside the profile, for this machine.

    Raises:
        FinetuneError: the profile does not start so many processes, or does not know its machines.
    """
    told = ["--config_file", str(profile.path)]
    if profile.deepspeed_file:
        told += ["--deepspeed_config_file", str(profile.deepspeed_file)]
    if processes is not None and (processes < 1 or (profile.alone and processes > 1)):
        raise FinetuneError(
            f"{profile.name!r} does not start {processes} processes",
            where="--num-processes",
            remedy="Leave it out, or take --launch multi_gpu, zero2 or cpu_2.",
        )
    if profile.alone:
        return told
    where = from_environment()
    if where.machines == 1 and profile.settings.get("num_machines", 1) > 1:
        raise FinetuneError(
            f"{profile.name!r} is for several machines, and nothing tells how many there are",
            where="--launch",
            remedy="Set NNODES, NODE_RANK and MASTER_ADDR on each, or start it as a job of Slurm, "
            "Kubeflow or SkyPilot (`finetune launch`).",
        )
    if processes is None and (gpus or where.machines > 1):
        processes = profile.processes(where.machines, gpus)
    if processes:
        told += ["--num_processes", str(processes)]
    if where.machines > 1:
        told += ["--num_machines", str(where.machines), "--machine_rank", str(where.rank)]
        told += ["--main_process_ip", where.address, "--main_process_port", str(where.port)]
        told += ["--same_network"]
    return told


def _require(profile: Profile) -> None:
    if profile.deepspeed_file and not _installed("deepspeed"):
        raise FinetuneError(
            "DeepSpeed is not installed",
            where=f"--launch {profile.name}",
            remedy="Install it: pip install 'deepspeed>=0.19.8,<0.20'",
        )
    for error in refused.without_compiler(sharing.of(profile), f"--launch {profile.name}"):
        raise error


def _installed(library: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(library) is not None


def _gpus(profile: Profile) -> int:
    """How many there are for this profile.

    Raises:
        FinetuneError: it needs one, and there is none.
    """
    if profile.on_cpu:
        return 0
    import torch

    found = torch.cuda.device_count()
    if found == 0 and profile.deepspeed_file is None:
        raise FinetuneError(
            "this machine has no GPU that torch can use",
            where=f"--launch {profile.name}",
            remedy="Take --launch cpu or cpu_2; `finetune doctor` tells what torch sees.",
        )
    return found


def _launched(call: Any, parsed: Any) -> int:
    """The exit code of the ranks; the one that failed has told why, and is not told again."""
    from torch.distributed.elastic.agent.server import api
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    for logger in (logging.getLogger("torch.distributed.elastic"), api.logger):  # has a level too
        logger.setLevel(logging.CRITICAL)
    try:
        call(parsed)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            name = signal.Signals(-failure.exitcode).name
            console.say(
                f"rank {rank} was ended from outside by {name}; the others were stopped, and the "
                "next run goes on from the last whole checkpoint"
            )
        if from_environment().machines > 1:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a scheduler's, for another's failure
            time.sleep(OTHER_MACHINES_SECONDS)
        return _code(failure.exitcode)
    except SignalException as error:
        if isinstance(error.__context__, SignalException):  # a second one, before the ranks told
            console.say("stopped at once; the next run goes on from the last whole checkpoint")
        return _code(-error.sigval)
    except (ConnectionError, ValueError) as error:  # accelerate's own checks
        raise FinetuneError(str(error).splitlines()[0], where="--launch") from error
    return 0


def _code(code: int) -> int:
    return 128 - code if code < 0 else code
