"""Whether a model can be opened here, and its adapters belong to its base: told beforehand."""

from __future__ import annotations

from finetune.job import ModelRef
from finetune.models.identity import NAME, check_identity
from finetune.models.load import check_base, empty_model
from finetune.models.merging import merges_by_layer, on_skeleton
from finetune.models.stack import put_adapters


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
