"""Expert-specialised fine-tuning (ESFT, Wang et al. 2024, arXiv 2407.01906) on fused experts.

Experts that the data uses most are found on a sample of it, and only they are trained. Since
transformers 5 all experts of a layer lie in one parameter, so a chosen expert becomes a parameter
of its own: the others get no gradient, no weight decay and no optimizer state.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from finetune.data.encoded import RowReader
from finetune.data.tokens import Encoded
from finetune.errors import FinetuneError
from finetune.models.distributed import one_format
from finetune.recipe.tuning import Esft

ROUTING = {"top_k_index", "top_k_weights"}  # what transformers gives a layer's fused experts
WEIGHTS, CHOSEN = "experts.safetensors", "experts.json"
Scores = dict[str, list[float]]  # of each layer's experts; a layer's sum to 1
Chosen = dict[str, list[int]]


class ExpertRows(torch.nn.Module):
    """A layer's experts in place of their parameter: those chosen learn, the others do not.

    `rows[index]` is one expert's weight, as of the parameter, which is all that the layers of
    transformers ask for when they go from expert to expert.
    """

    def __init__(self, whole: torch.Tensor, chosen: Sequence[int]) -> None:
        super().__init__()
        self.frozen = torch.nn.Parameter(whole.detach(), requires_grad=False)
        self.chosen = torch.nn.ParameterDict(
            {str(row): torch.nn.Parameter(whole.detach()[row].clone()) for row in chosen}
        )

    def __getitem__(self, index: Any) -> torch.Tensor:
        row = str(int(index))
        return self.chosen[row] if row in self.chosen else self.frozen[index]

    def whole(self) -> torch.nn.Parameter:
        """The parameter again, with what the chosen rows have learnt."""
        with torch.no_grad():
            for row, weight in self.chosen.items():
                self.frozen[int(row)] = weight
        return torch.nn.Parameter(self.frozen.data)


def expert_layers(model: Any) -> dict[str, torch.nn.Module]:
    """The modules of fused experts by name.

    Raises:
        FinetuneError: there are none.
    """
    found = {
        name: module
        for name, module in model.named_modules()
        if set(inspect.signature(type(module).forward).parameters) >= ROUTING
        and expert_weights(module)
    }
    if not found:
        raise FinetuneError(
            "this base has no fused experts: ESFT is for mixtures of experts",
            where="esft",
            remedy="Take `esft` out, or give a base such as Mixtral, Qwen3-MoE or DeepSeek.",
        )
    return found


def expert_weights(module: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """What of a layer's experts is theirs one by one: the first dimension counts them."""
    own = dict(module.named_parameters(recurse=False))
    experts = {parameter.shape[0] for parameter in own.values() if parameter.dim() == 3}
    return {name: p for name, p in own.items() if p.dim() > 1 and p.shape[0] in experts}


def score(model: Any, rows: RowReader, settings: Esft) -> Scores:
    """How much the data uses each expert, by the published rule.

    For each row the share of its tokens' choices that fall on an expert (`token`), or the mean
    gate weight that the expert has over its tokens (`gate`); then the mean over rows. Gate weights
    of a layer are made to sum to 1, as the shares do: not every router's do.
    """
    sums: dict[str, torch.Tensor] = {}
    number = 0
    with torch.inference_mode(), _listening(model, settings.score, sums):
        for row in tqdm(_sample(rows, settings.sample_tokens), desc="experts", disable=None):
            model(input_ids=torch.tensor([row.input_ids], device=model.device), use_cache=False)
            number += 1
    means = {name: total / number for name, total in sums.items()}
    return {name: (mean / mean.sum()).tolist() for name, mean in means.items()}


def choose(scores: Scores, top_p: float) -> Chosen:
    """Of each layer the experts by falling score, until their scores sum to `top_p`."""
    return {name: _until(values, top_p) for name, values in scores.items()}


def _until(values: Sequence[float], top_p: float) -> list[int]:
    chosen: list[int] = []
    total = 0.0
    for expert in sorted(range(len(values)), key=lambda each: (-values[each], each)):
        if total >= top_p - 1e-9:  # a sum of shares is not 1 to the last bit
            break
        chosen.append(expert)
        total += values[expert]
    return sorted(chosen)


def _sample(rows: RowReader, tokens: int) -> Iterator[Encoded]:
    """Rows from the first on, until they have so many tokens."""
    for index in range(rows.count):
        if tokens <= 0:
            return
        row = rows.read(index)
        tokens -= len(row.input_ids)
        yield row


@contextmanager
def _listening(model: Any, kind: str, sums: dict[str, torch.Tensor]) -> Iterator[None]:
    """Add up each row's score of each expert while the model runs, one row at a time."""
    handles = []
    for name, module in expert_layers(model).items():
        count = next(iter(expert_weights(module).values())).shape[0]
        sums[name] = torch.zeros(count, dtype=torch.float64)
        signature = inspect.signature(type(module).forward)
        handles.append(
            module.register_forward_pre_hook(
                _listener(signature, kind, sums[name]), with_kwargs=True
            )
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _listener(signature: inspect.Signature, kind: str, total: torch.Tensor) -> Any:
    def listen(module: Any, args: Any, kwargs: Any) -> None:
        given = signature.bind(module, *args, **kwargs).arguments
        index, weights = given["top_k_index"].cpu(), given["top_k_weights"].double().cpu()
        tokens, experts = index.shape
        each = weights / tokens if kind == "gate" else torch.ones_like(weights) / (tokens * experts)
        total.index_add_(0, index.reshape(-1), each.reshape(-1))

    return listen


def split(model: Any, chosen: Chosen) -> None:
    """Freeze the model but for the chosen experts, each a parameter of its own.

    Raises:
        FinetuneError: the architecture computes all experts at once, or weights are shared out.
    """
    if one_format():
        raise _unfit("ZeRO-3 has shares of the experts", "Launch with another profile.")
    ids = torch.arange(min(16, model.config.get_text_config().vocab_size), device=model.device)
    model.requires_grad_(False)
    model.set_experts_implementation("eager")  # expert by expert
    with torch.inference_mode():
        before = model(input_ids=ids[None], use_cache=False).logits
    for name, module in expert_layers(model).items():
        for key, parameter in expert_weights(module).items():
            delattr(module, key)
            setattr(module, key, ExpertRows(parameter, chosen[name]))
    try:
        with torch.inference_mode():
            after = model(input_ids=ids[None], use_cache=False).logits
    except (TypeError, AttributeError, RuntimeError) as error:
        raise _unfit(f"its experts are not computed one by one: {error}") from error
    if not torch.equal(before, after):
        raise _unfit("its experts give other values one by one")


def _unfit(
    why: str, remedy: str = "Train an adapter with `lora`, or all weights."
) -> FinetuneError:
    return FinetuneError(f"ESFT cannot split this base: {why}", where="esft", remedy=remedy)


def join(model: Any) -> None:
    """The inverse of `split`: the architecture's own parameters again, with what was learnt."""
    for module in list(model.modules()):
        for key, rows in list(module.named_children()):
            if isinstance(rows, ExpertRows):
                delattr(module, key)
                module.register_parameter(key, rows.whole())


def trained_rows(model: Any) -> dict[str, torch.Tensor]:
    """What was learnt: `LAYER.PARAMETER.EXPERT` -> that expert's weight."""
    return {
        f"{name}.{row}": weight.detach().cpu()
        for name, rows in model.named_modules()
        if isinstance(rows, ExpertRows)
        for row, weight in rows.chosen.items()
    }


def save_experts(model: Any, folder: Path) -> None:
    """Save what was learnt alone: a small part of the model, to be laid over the base again."""
    save_file(trained_rows(model), folder / WEIGHTS)


def write_choice(scores: Scores, top_p: float) -> str:
    """Scores and the experts chosen by them, layer by layer, as JSON."""
    chosen = choose(scores, top_p)
    told = {name: {"chosen": chosen[name], "scores": scores[name]} for name in scores}
    return json.dumps(told, indent=1)


def read_choice(folder: Path) -> Chosen:
    """The experts that were chosen."""
    told = json.loads((folder / CHOSEN).read_text("utf-8"))
    return {name: layer["chosen"] for name, layer in told.items()}


def lay_over(model: Any, folder: Path) -> None:
    """Write experts saved by `save_experts` over those of the base they were trained from.

    Raises:
        FinetuneError: the model has no such experts.
    """
    parameters: Mapping[str, torch.nn.Parameter] = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in load_file(folder / WEIGHTS).items():
            key, _, row = name.rpartition(".")
            if key not in parameters or parameters[key][int(row)].shape != weight.shape:
                raise FinetuneError(
                    f"these experts are of another model: it has no {name} of this shape",
                    where=str(folder),
                    remedy="Lay them over the base that they were trained from.",
                )
            parameters[key][int(row)] = weight.to(parameters[key])
