"""`finetune launch`: the file that runs a recipe on a cluster."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from finetune import console
from finetune.commands.command import Command, out, recipe_of, takes_recipe
from finetune.errors import FinetuneError
from finetune.launch import cluster, kubernetes, sky, slurm
from finetune.launch.profiles import find

OPTIONS = ("profile", "nodes", "gpus", "gpu", "image", "install", "storage")
SCHEDULERS = {"slurm": slurm.render, "kubernetes": kubernetes.render, "sky": sky.render}


def _arguments(parser: argparse.ArgumentParser) -> None:
    takes_recipe(parser)
    parser.add_argument("--on", required=True, choices=SCHEDULERS, help="the scheduler")
    parser.add_argument(
        "--profile", metavar="PROFILE", help="by default the one for so many machines and GPUs"
    )
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="machines (1)")
    parser.add_argument("--gpus", type=int, metavar="N", help="of each machine (1)")
    parser.add_argument("--gpu", metavar="NAME", help="which, for sky (H100)")
    parser.add_argument("--image", help="for kubernetes: one with finetune in it")
    parser.add_argument("--install", metavar="COMMAND", help="for sky: puts finetune on a machine")
    parser.add_argument(
        "--storage", metavar="NAME", help="volume claim or bucket of recipe and runs (finetune)"
    )
    parser.add_argument("--out", metavar="FILE", help="write it there")


def _launch(parsed: argparse.Namespace) -> None:
    from finetune.chain.inputs import together
    from finetune.launch import refused, sharing

    recipe = recipe_of(parsed)
    if parsed.gpus is None:
        parsed.gpus = 0 if parsed.profile and find(parsed.profile).on_cpu else 1
    profile = cluster.profile_for(parsed.profile, parsed.nodes, parsed.gpus)
    processes = profile.processes(parsed.nodes, parsed.gpus)
    if found := refused.problems(recipe, sharing.of(profile), processes):
        raise together(found, f"with --profile {profile.name}")
    given = {name: value for name in OPTIONS if (value := getattr(parsed, name)) is not None}
    job = cluster.ClusterJob(
        name=cluster.job_name(recipe.name),
        written_by=_command_line(parsed, given),
        recipe=parsed.recipe,
        changes=tuple(parsed.changes),
        **{**given, "profile": parsed.profile or profile.name},
    )
    text = SCHEDULERS[parsed.on](job)
    if parsed.out is None:
        return out(text.rstrip("\n"))
    try:
        Path(parsed.out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise FinetuneError(f"cannot be written ({error.strerror})", where=parsed.out) from error
    return console.say(f"wrote {parsed.out}")


def _command_line(parsed: argparse.Namespace, given: dict[str, Any]) -> str:
    words = ["finetune", "launch", parsed.recipe, *parsed.changes, "--on", parsed.on]
    for name, value in given.items():
        words += [f"--{name}", str(value)]
    return shlex.join(words)


COMMAND = Command(
    "finetune launch my.yaml --on slurm --nodes 2 --gpus 8 --out my.sbatch\n"
    "finetune launch my.yaml --on kubernetes --profile zero2 --gpus 8 --image registry/finetune\n"
    "finetune launch my.yaml --on sky --gpu A100 --install 'pip install .'",
    _arguments,
    _launch,
)
