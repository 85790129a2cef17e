"""Direct preference optimisation (Rafailov et al. 2023) of an adapter against a frozen copy.

The adapter of the stage before goes on training; its copy, on the same base in memory, is the
reference. Before the first step both are one model, so the loss has a known value: checked here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from trl import DPOConfig

from finetune.console import say, warn
from finetune.data.encoded import RowReader
from finetune.data.examples import Conversation, Pair
from finetune.data.pairs import answered, costs, fit
from finetune.data.shorten import longest
from finetune.data.tokens import Encoded, encode
from finetune.errors import DataError, FinetuneError
from finetune.job import Job, Result
from finetune.models.adapters import adapter_weights, is_adapted, write_adapter
from finetune.models.fitting import check_start
from finetune.models.load import context_length, read_config
from finetune.models.policy import open_policy, save_policy
from finetune.models.stack import TOP
from finetune.models.tokenizers import load_tokenizer
from finetune.ranks import world_size
from finetune.recipe.types import Dpo, Settings
from finetune.stages import samples, training
from finetune.stages.fastest import Batch, Way, choose
from finetune.stages.prompts import share, tokens_together
from finetune.stages.reference import ReferenceTrainer, kept_at, with_reference
from finetune.stages.sharding import not_training_yet
from finetune.stages.sources import announce, left_out
from finetune.tasks.examples import pairs

SAMPLE = 20  # rows rendered before any stage runs
PROOF = 8  # rows of the check before the first step, in whole batches
STEP_0_TOLERANCE = 1e-4
REFERENCE = "ref"  # TRL's name for the frozen copy of the adapter


def check(stage: Dpo, job: Job) -> None:
    """Build the library's configs and render some pairs."""
    training.trainer_config(DPOConfig, stage.train, stage.batch_size, job)
    tokenizer, _ = load_tokenizer(job.model.base)
    check_start(job.model, stage)
    given = pairs(stage.data)
    announce(given, stage.data, job)
    rows = given[:SAMPLE]
    encode(
        tokenizer, [Conversation(answered(pair)[0], pair.tools) for pair in rows], max_length=None
    )
    limit = longest(stage.train)
    costs([fit(tokenizer, pair, limit) for pair in rows], limit)


def run(stage: Dpo, job: Job) -> Result:
    """Check the hand-over, train, and save the adapter."""
    tokenizer, notes = load_tokenizer(job.model.base)
    given = pairs(stage.data)
    limit = context_length(read_config(job.model.base))
    plan = training.plan(stage.train, len(given), stage.batch_size, limit)
    fitted = [fit(tokenizer, pair, plan.max_length) for pair in given]
    rows = [each.pair for each in fitted]
    notes += [*left_out(given, job), *costs(fitted, plan.max_length)]
    samples.leave(job, tokenizer, _both_answers(tokenizer, rows[0], plan.max_length))
    lengths = [each.length for each in fitted]
    order = training.order(plan, lengths, stage.batch_size, job.seed)
    seen = list(dict.fromkeys(order))  # each row once, in the batches of the first epoch
    policy = open_policy(stage, job, RowReader(len(rows), partial(_chosen, tokenizer, rows, limit)))
    once = stage.train.get("precompute_ref_log_probs", not stage.train.get("sync_ref_model"))
    most = min(max(lengths), plan.max_length or max(lengths))
    together = tokens_together(policy, fitted, most, job.name)
    learnt = [sum(fitted[n].parts[1:]) for n in order]
    batch = Batch(stage.batch_size, most, learnt, pairs=True, together=together)
    way, told = choose(policy.model, policy.base, batch, stage.train, job)
    config = _config(stage, job, policy.model, way, plan.max_length, once=once)
    before = adapter_weights(policy.model, TOP) if is_adapted(policy.model) else {}
    trainer = _trainer(policy.model, config, [rows[n] for n in seen], tokenizer, before)
    trainer.precompute_ref_logps = once
    training.attach(trainer, job, stage.batch_size)
    training.set_rates(trainer, stage)
    at_first = sorted(range(len(seen)), key=lambda place: -lengths[seen[place]])[: world_size()]
    shared = bool(together) and share(trainer, trainer.train_dataset.select(at_first), job.name)
    file = kept_at(job, policy, before, config, shared=shared) if once else None
    facts: dict[str, Any] = dict(_prove(trainer, file, stage.train, job))
    places = {row: place for place, row in enumerate(seen)}
    trainer.train_dataset = trainer.train_dataset.select([places[row] for row in order])
    for note in notes:
        warn(f"{job.name}: {note}")
    facts |= training.train(trainer, job, stage.batch_size)
    facts |= {
        "made_with": told,
        "prompts_shared": shared,
        "rows": len(rows),
        "refused_rows": given.refused.count,
    }
    facts |= _last_rewards(trainer.state.log_history)
    model = save_policy(policy, trainer, tokenizer, job)
    return Result(model=model, facts=facts, warnings=tuple(notes))


def _config(
    stage: Dpo, job: Job, model: Any, way: Way, max_length: int | None, *, once: bool
) -> Any:
    return training.trainer_config(
        DPOConfig,
        stage.train,
        stage.batch_size,
        job,
        **training.adapter_rate(DPOConfig, stage.train, model, job),
        **way.settings(stage.batch_size),
        max_length=max_length,
        # Of all weights TRL would load a second model; of an adapter it would only hash the base.
        precompute_ref_log_probs=once and not is_adapted(model),
    )


def _trainer(
    model: Any, config: Any, rows: list[Pair], tokenizer: Any, before: dict[str, Any]
) -> Any:
    """TRL's trainer on these rows; policy and reference are what the adapter was `before`.

    TRL casts the policy of a quantised base to bfloat16 and not its reference, and copies only
    weights of modules.

    Raises:
        DataError: TRL left out pairs whose prompts take all the room.
    """
    trainer: Any = ReferenceTrainer(
        model=model, args=config, train_dataset=_dataset(rows), processing_class=tokenizer
    )
    if left := len(rows) - len(trainer.train_dataset):
        raise DataError(
            f"the prompts of {left} pairs leave no room for an answer within {config.max_length} "
            "tokens",
            remedy="Raise train.max_length.",
        )
    write_adapter(trainer.model, before, of=TOP, to=TOP)
    write_adapter(trainer.model, before, of=TOP, to=REFERENCE)
    return trainer


def expected_loss(settings: Settings) -> float | None:
    """Loss while policy and reference are equal; None where this is not worked out.

    From the formulas in the papers: -log sigma(0) for the logistic ones, (1/(2 beta))^2 for IPO,
    1 for the hinge.
    """
    kinds = settings.get("loss_type", "sigmoid")
    kind = kinds if isinstance(kinds, str) else kinds[0] if len(kinds) == 1 else None
    beta = settings.get("beta", 0.1)
    known = {
        "sigmoid": math.log(2),
        "sigmoid_norm": math.log(2),
        "robust": math.log(2),
        "ipo": 1 / (2 * beta) ** 2,
        "hinge": 1.0,
    }
    return known.get(str(kind))


def _chosen(tokenizer: Any, rows: list[Pair], limit: int | None, index: int) -> Encoded:
    """The better answer of a pair, for starts of an adapter that look at data."""
    return encode(tokenizer, [Conversation(answered(rows[index])[0])], limit)[0]


def _both_answers(
    tokenizer: Any, pair: Pair, max_length: int | None
) -> Iterator[tuple[int, str, Encoded]]:
    talks = [Conversation(talk, pair.tools) for talk in answered(pair)]
    rows = encode(tokenizer, talks, max_length)
    return ((0, title, row) for title, row in zip(("chosen", "rejected"), rows, strict=True))


def _dataset(rows: list[Pair]) -> datasets.Dataset:
    given: list[dict[str, Any]] = [
        {"prompt": row.prompt, "chosen": row.chosen, "rejected": row.rejected} for row in rows
    ]
    if any(row.tools for row in rows):
        for one, row in zip(given, rows, strict=True):
            one["tools"] = json.dumps(row.tools)  # as text no row's tools get another's fields
    return datasets.Dataset.from_list(given)


def _prove(trainer: Any, file: Path | None, settings: Settings, job: Job) -> dict[str, float]:
    """Give the rows what the reference says of them, and prove that it is the policy's own word.

    `file` keeps it between runs; without one the reference is asked as training goes on.

    Raises:
        FinetuneError: the reference is another model than the one handed over.
    """
    rows, kept = trainer.train_dataset, 0
    if file is not None:
        trainer.train_dataset, kept = with_reference(trainer, rows, file, job.name)
    found = _step_0(trainer, settings, job)
    if file is not None and kept and not _is_proof(found, settings):
        say(f"  {job.name}: what was kept of the reference is not this model's: computed again")
        trainer.train_dataset, _ = with_reference(trainer, rows, file, job.name, afresh=True)
        found = _step_0(trainer, settings, job)
    if not _is_proof(found, settings):
        expected = expected_loss(settings)
        raise FinetuneError(
            f"before the first step the loss is {found['step_0_loss']:.6f} and the margin "
            f"{found['step_0_margin']:.6f}; with the model before this stage as reference they are "
            + (f"{expected:.6f} and 0" if expected is not None else "another and 0"),
            where=job.name,
            remedy="Policy and reference are not the same model: please report this.",
        )
    return found


def _step_0(trainer: Any, settings: Settings, job: Job) -> dict[str, float]:
    """Loss and margin before any step, dropout off, of the first rows in whole batches."""
    at_once = trainer.args.per_device_eval_batch_size * trainer.args.world_size
    count = min(len(trainer.train_dataset), math.ceil(PROOF / at_once) * at_once)
    with not_training_yet(trainer):
        found = trainer.evaluate(trainer.train_dataset.select(range(count)))
    trainer.state.log_history.clear()
    # A mixture of experts has a loss of its routers' balance on top.
    routers = trainer.router_aux_loss_coef * found.get("eval_aux_loss", 0.0)
    loss, margin = found["eval_loss"] - routers, found["eval_rewards/margins"]
    expected = expected_loss(settings)
    say(
        f"  {job.name}: before the first step loss {loss:.6f}"
        + (f" (equal models: {expected:.6f})" if expected is not None else "")
        + f", margin {margin:.6f} (0)"
    )
    return {"step_0_loss": loss, "step_0_margin": margin}


def _is_proof(found: dict[str, float], settings: Settings) -> bool:
    """Whether loss and margin are those of equal models; what is no number proves nothing."""
    loss, margin = found["step_0_loss"], found["step_0_margin"]
    expected = expected_loss(settings)
    known = loss if expected is None else expected
    equal = abs(loss - known) <= STEP_0_TOLERANCE * max(1.0, known)
    return equal and abs(margin) <= STEP_0_TOLERANCE


def _last_rewards(history: list[dict[str, float]]) -> dict[str, float]:
    last = next((entry for entry in reversed(history) if "rewards/accuracies" in entry), {})
    names = {"rewards/accuracies": "last_reward_accuracy", "rewards/margins": "last_reward_margin"}
    return {ours: last[theirs] for theirs, ours in names.items() if theirs in last}
