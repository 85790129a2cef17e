"""The reference's log-probabilities in DPO: computed once, and kept in the run's folder.

They depend on the rows and on the model before the stage. A run with another beta, rate or number
of epochs finds them there, and so does one that was stopped.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy
import torch
from datasets import Dataset
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm.auto import tqdm
from trl import DPOTrainer

from finetune.console import say
from finetune.job import Job
from finetune.models.distributed import of_main, trained_weights
from finetune.models.identity import digest
from finetune.models.policy import Policy
from finetune.models.tokenizers import weights_folder
from finetune.ranks import is_main
from finetune.stages.sharding import not_training_yet

FOLDER = "reference"  # in the run's folder: stages and later runs share it
COLUMNS = ("ref_chosen_logps", "ref_rejected_logps")  # TRL's names
Known = dict[bytes, NDArray[numpy.float32]]  # of a row by its tokens: (chosen, rejected)


class ReferenceTrainer(DPOTrainer):
    """TRL's trainer, whose reference can be asked for all rows before training begins.

    Its own `precompute_ref_log_probs` asks while the trainer is made, when the adapter is not yet
    what it was, and keeps nothing that another run could find.
    """

    bar: Any = None

    def ask(self, rows: Dataset, title: str) -> NDArray[numpy.float32]:
        """The reference's log-probabilities of tokenised rows, (rows, 2): chosen and rejected.

        In the batches in which they are trained first: there policy and reference are equal to
        the last bit in any number format.
        """
        hidden = None if is_main() else True
        bar = tqdm(total=len(rows), desc=title, unit="row", disable=hidden, leave=False)
        with bar as self.bar, not_training_yet(self):
            return numpy.asarray(self.predict(rows).predictions, dtype=numpy.float32)

    def prediction_step(
        self,
        model: Any,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> Any:
        """In `evaluate` TRL's; in `predict` the reference's log-probabilities of a batch."""
        if prediction_loss_only:
            return super().prediction_step(model, inputs, True, ignore_keys)
        pair = torch.stack(self.compute_ref_log_probs(model, self._prepare_inputs(inputs)), dim=1)
        self.bar.update(len(pair) * self.args.world_size)
        return None, pair, None

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        return dataset  # its rows have the columns already, or get them before training


def kept_at(
    job: Job, policy: Policy, weights: dict[str, torch.Tensor], args: Any, *, shared: bool
) -> Path:
    """The file of one reference, named by what decides its log-probabilities beside the rows.

    `weights` are those of the adapter before training; the policy's base and the adapters below
    it count by their content. Prompts that are `shared` change rounding, which in half precision is
    not little.
    """
    base = policy.base
    folders = (weights_folder(base), *policy.below)
    decides = {
        "files": [digest(folder.glob("*.safetensors")) for folder in folders if is_main()],
        "base": [base.dtype, base.quantization, base.add_tokens],
        "adapter": _of_weights((trained_weights(policy.model) if weights else None) or weights),
        "numbers": [args.bf16, args.fp16, args.tf32],
        "rows": [args.max_length, args.ld_alpha],
        "shared": shared,
    }
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return job.out.parent / FOLDER / f"{of_main(key)[:16]}.safetensors"


def with_reference(
    trainer: ReferenceTrainer, rows: Dataset, file: Path, name: str, *, afresh: bool = False
) -> tuple[Dataset, int]:
    """Tokenised rows with TRL's two columns, and how many of them were kept from before.

    What `file` lacks is computed, and all of it if `afresh`.
    """
    keys = [_of_row(row) for row in rows.with_format("numpy")]
    known: Known = {} if afresh else of_main(_read(file) if is_main() else {})
    missing = [number for number, key in enumerate(keys) if key not in known]
    if missing:
        found = trainer.ask(rows.select(missing), f"{name}: reference")
        known |= {keys[number]: pair for number, pair in zip(missing, found, strict=True)}
        if is_main():
            _write(file, known)
    kept = len(keys) - len(missing)
    told = "kept from before" if kept == len(keys) else "computed, and kept for other runs"
    say(f"  {name}: reference log-probabilities {told} ({len(missing) or kept} rows)")
    for column, values in zip(COLUMNS, numpy.stack([known[key] for key in keys]).T, strict=True):
        rows = rows.add_column(column, values)
    return rows, kept


def _of_row(row: dict[str, Any]) -> bytes:
    parts = [numpy.asarray(row[f"{part}_ids"], "<i4") for part in ("prompt", "chosen", "rejected")]
    sizes = numpy.asarray([len(part) for part in parts], "<i4")
    return hashlib.blake2b(numpy.concatenate([sizes, *parts]).tobytes(), digest_size=16).digest()


def _of_weights(weights: dict[str, torch.Tensor]) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _read(file: Path) -> Known:
    try:
        found = load_file(file)
        pairs = zip(found["rows"], found["logps"], strict=True)
        return {row.tobytes(): pair for row, pair in pairs}
    except (OSError, SafetensorError, KeyError, ValueError):
        return {}  # there is none, or it is damaged: computed again


def _write(file: Path, known: Known) -> None:
    file.parent.mkdir(exist_ok=True)
    part = file.with_suffix(".part")
    rows = numpy.frombuffer(b"".join(known), numpy.uint8).reshape(len(known), -1)
    save_file({"rows": rows, "logps": numpy.stack(list(known.values()))}, part)
    part.replace(file)
