"""`finetune run`: keep what is done, run the rest."""

from __future__ import annotations

import argparse

from finetune.commands import plan
from finetune.commands.command import Command, out, recipe_of, takes_recipe
from finetune.errors import FinetuneError
from finetune.launch.profiles import Profile, find


def _arguments(parser: argparse.ArgumentParser) -> None:
    takes_recipe(parser)
    parser.add_argument("--plan", action="store_true", help="only show what would be done")
    parser.add_argument(
        "--launch", metavar="PROFILE", help="on what: cpu, gpu, multi_gpu, zero2, …, or a file"
    )
    parser.add_argument(
        "--num-processes",
        type=int,
        metavar="N",
        help="with --launch: so many, whatever GPUs there are",
    )


def _run(parsed: argparse.Namespace) -> None:
    if parsed.num_processes is not None and not parsed.launch:
        raise FinetuneError(
            "--num-processes says nothing without --launch",
            remedy="Add --launch multi_gpu, zero2, cpu_2 or another profile.",
        )
    profile = _profile(parsed) if parsed.launch else None
    if parsed.plan:
        plan.show(parsed)
        return None
    if profile:
        from finetune.launch.start import start

        start(profile, parsed.num_processes, ["run", parsed.recipe, *parsed.changes])
    from finetune.chain.run import run
    from finetune.report.leave import leaving_report
    from finetune.report.table import closing

    recipe = recipe_of(parsed)
    with leaving_report(recipe):
        outcome = run(recipe)
    return out(f"\n{closing(outcome)}")


def _profile(parsed: argparse.Namespace) -> Profile:
    """The launch profile; what is wrong with the recipe, or with both, is told by one process."""
    from finetune.chain.inputs import together
    from finetune.launch import refused, sharing

    profile = find(parsed.launch)
    # Of GPUs it is known only where torch is: their number is looked at before the first stage.
    processes = parsed.num_processes or (profile.processes(1, 0) if profile.on_cpu else 1)
    if found := refused.problems(recipe_of(parsed), sharing.of(profile), processes):
        raise together(found, f"with --launch {profile.name}")
    return profile


COMMAND = Command(
    "finetune run samsum\n"
    "finetune run my.yaml dpo.train.beta=0.2 output_dir=runs/beta\n"
    "finetune run my.yaml --launch zero2\n"
    "accelerate launch --config_file launch/zero2.yaml -m finetune run my.yaml",
    _arguments,
    _run,
)
