"""`finetune plan`: what a run would do, and why; what memory and time it would take."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from finetune.commands.command import Command, out, recipe_of, takes_recipe

if TYPE_CHECKING:
    from finetune.chain.forecast import Place
    from finetune.chain.plan import Plan
    from finetune.recipe.types import Recipe


def _arguments(parser: argparse.ArgumentParser) -> None:
    takes_recipe(parser)
    parser.add_argument("--gpu", metavar="NAME", help="on this GPU: h100, a10g, rtx4090, t4, …")
    parser.add_argument("--launch", metavar="PROFILE", help="under this launch profile: zero3, …")
    parser.add_argument("--num-processes", type=int, metavar="N", help="so many GPUs")
    parser.add_argument("--savings", action="store_true", help="also what would save memory")


def show(parsed: argparse.Namespace) -> Plan:
    """Print what would be done about each stage."""
    from finetune.chain.plan import make

    plan = make(recipe_of(parsed))
    out(str(plan))
    return plan


def _plan(parsed: argparse.Namespace) -> None:
    plan = show(parsed)
    if not plan.done:
        out(f"\n{_memory(plan, parsed)}")


def _memory(plan: Plan, parsed: argparse.Namespace) -> str:
    from finetune.chain.forecast import told
    from finetune.report.forecast import table

    place = _place(parsed, plan.recipe)
    return table(told(plan, place, savings=parsed.savings), place)


def _place(parsed: argparse.Namespace, recipe: Recipe) -> Place:
    """This machine, or the GPUs named; how they share is the profile's business.

    Raises:
        FinetuneError: recipe and profile do not go together.
    """
    from finetune.chain.forecast import Place, here
    from finetune.chain.inputs import together
    from finetune.launch import profiles, refused, sharing
    from finetune.memory.machine import gpu

    machine = gpu(parsed.gpu) if parsed.gpu else here()
    profile = profiles.find(parsed.launch) if parsed.launch else None
    usual = profile.settings.get("num_processes") if profile else None
    processes = parsed.num_processes or int(usual or 1)
    if machine.on_cpu:
        machine = replace(machine, memory=machine.memory // processes)
    if profile is None:
        return Place(machine=machine, processes=processes)
    shared = sharing.of(profile)
    if found := refused.problems(recipe, shared, processes):
        raise together(found, f"with --launch {profile.name}")
    return Place(machine=machine, processes=processes, sharing=shared)


COMMAND = Command(
    "finetune plan my.yaml\n"
    "finetune plan my.yaml sft.train.learning_rate=1e-4\n"
    "finetune plan my.yaml --gpu a10g --savings\n"
    "finetune plan my.yaml --gpu h100 --launch zero3 --num-processes 8",
    _arguments,
    _plan,
)
