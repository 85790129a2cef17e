"""Whether a model can be opened here, and its adapters belong to its base: told beforehand."""

from __future__ import annotations

from finetune.job import ModelRef
from finetune.models.configs import check_places
from finetune.models.identity import NAME, check_identity
from finetune.models.load import check_base, empty_model
from finetune.models.merging import check_base_merges, merges_by_layer, on_skeleton
from finetune.models.stack import put_adapters
from finetune.recipe.tuning import MERGE, Tuned


def check_model(ref: ModelRef) -> None:
    """Find out, without opening it, whether a model can be opened.

    Adapters trained here know the weights of their base. Of one made elsewhere the names and
    shapes of its layers tell: it is laid on a skeleton, which takes no memory, where its kind
    allows that.

    Raises:
        FinetuneError: the base cannot be used here, or an adapter belongs to another one.
    """
    check_base(ref.base)
    check_identity(ref)
    unknown = not all((adapter / NAME).is_file() for adapter in ref.adapters)
    if unknown and not ref.base.add_tokens and merges_by_layer(ref.adapters):
        put_adapters(on_skeleton(empty_model(ref.base), ref.adapters), ref.adapters)


def check_start(ref: ModelRef, stage: Tuned) -> None:
    """Find out whether a stage can train what it wants to on the model it starts from.

    Raises:
        FinetuneError: the model cannot be opened, or has no such layers.
    """
    check_model(ref)
    check_places(ref.base, stage)
    if stage.lora == MERGE:
        check_base_merges(ref.base, "dequantized")
