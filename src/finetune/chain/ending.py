"""How a run ends early: what happened, the way out, and what is already safe."""

from __future__ import annotations

import sys

from finetune import ranks
from finetune.chain.child import Reply
from finetune.chain.files import shown
from finetune.chain.plan import Plan, Step
from finetune.chain.stops import InterruptedRun, TerminatedRun, ToldError
from finetune.errors import FinetuneError


def stopped(signal: KeyboardInterrupt, text: str) -> InterruptedRun:
    """The same kind of interruption with what the user should know."""
    return (TerminatedRun if isinstance(signal, TerminatedRun) else InterruptedRun)(text)


def how_to_go_on(plan: Plan, step: Step) -> str:
    """The last words of an interrupted run."""
    progress = plan.store.progress(step.stage.name, step.keyed.key)
    where = f"step {progress[0]} of {progress[1]}" if progress else "its beginning"
    return f"stopped; run again to go on with {step.stage.name!r} from {where}"


def failed(plan: Plan, index: int, reply: Reply) -> Exception:
    """The error of a stage as the user sees it: told by the rank that met it first."""
    assert reply.error is not None
    if not reply.first:
        return ToldError(reply.error.code)
    stage, error = plan.steps[index].stage, reply.error
    head = f"{error.where}: {error.what}" if error.where else error.what
    told = FinetuneError(f"{stage.name} stopped: {head}", remedy=error.remedy, code=error.code)
    trace = plan.store.part(stage.name, plan.steps[index].keyed.key) / "error.txt"
    where = f"Traceback: {shown(trace)}" if trace.exists() else ""
    told = extended(told, " ".join(filter(None, [_safe(plan, index), where])))
    if ranks.is_main():
        return told
    sys.stderr.write(f"rank {ranks.rank()}: {told}\n")
    return ToldError(told.code)


def required(plan: Plan, step: Step, failed: list[str]) -> FinetuneError:
    """The error of an evaluation that does not reach what its stage requires."""
    name = step.stage.name
    safe = _safe(plan, plan.steps.index(step) + 1)
    return FinetuneError(
        f"{name} stopped the chain: {'; '.join(failed)}",
        remedy=f"`finetune show RECIPE` has all scores. Change what is before {name!r}, or "
        f"{name}.require, which runs nothing again.\n  {safe}",
    )


def extended(error: FinetuneError, line: str) -> FinetuneError:
    """The error with one more line below its remedy."""
    remedy = "\n  ".join(filter(None, [error.remedy, line]))
    return FinetuneError(error.what, where=error.where, remedy=remedy, code=error.code)


def _safe(plan: Plan, index: int) -> str:
    names = [repr(step.stage.name) for step in plan.steps[:index]]
    if not names:
        return ""
    *most, last = names
    listed = f"{', '.join(most)} and {last}" if most else last
    return f"{listed} {'are' if most else 'is'} done and will be kept."
