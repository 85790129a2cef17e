"""Liger's kernels: taken where they can be had, and only if they compute the same."""

import liger_stand_in
import pytest
from small_stages import logits, run, sft
from test_fastest import losses

from finetune.errors import FinetuneError
from finetune.job import ModelRef
from finetune.recipe.types import Base

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("quiet")]
LIGER = {"use_liger_kernel": True}


@pytest.fixture
def llama(bases):
    """A tiny base that the stand-in has kernels for."""
    return Base(model=str(bases("llama")), dtype="float32")


def doubled(plain):
    """A kernel that computes twice what it should."""
    return lambda *args, **kwargs: _twice(plain(*args, **kwargs))


def _twice(found):
    return tuple(2 * each for each in found) if isinstance(found, tuple) else 2 * found


def without_backward(plain):
    """A kernel that computes what it should, and the gradient of something else."""
    return lambda *args, **kwargs: _forward_alone(plain(*args, **kwargs))


def _forward_alone(found):
    import torch

    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return 1.01 * gradient

    some = found if isinstance(found, tuple) else (found,)
    some = tuple(Broken.apply(each) for each in some)
    return some if isinstance(found, tuple) else some[0]


def failing(plain):
    """A kernel that Triton cannot compile here."""

    def forward(*args, **kwargs):
        raise RuntimeError("PassManager::run failed\nmore")

    return forward


def on_a_gpu(monkeypatch):
    """What is decided as on a GPU; tensors stay where they are."""
    from finetune.models import kernels

    monkeypatch.setattr(kernels, "on_cpu", lambda: False)


def test_kernels_that_are_asked_for_are_told_and_train_the_same(llama, rows, tmp_path, monkeypatch):
    plain = run(sft(rows), ModelRef(base=llama), tmp_path / "plain" / "sft")
    calls = []

    def counted(plain):
        return lambda *args, **kwargs: calls.append(1) or plain(*args, **kwargs)

    liger_stand_in.install(monkeypatch, counted)
    train = {**sft(rows).train, **LIGER}
    fast = run(sft(rows, train=train), ModelRef(base=llama), tmp_path / "fast" / "sft")
    assert fast.facts["made_with"].endswith(", Liger kernels")
    assert "Liger" not in plain.facts["made_with"]
    # Norm and rotation of two layers: their proof, that of masks (two passes), two steps.
    assert len(calls) == 2 * 2 * (1 + 2 + 2)
    assert losses(tmp_path / "fast" / "sft") == losses(tmp_path / "plain" / "sft")


@pytest.mark.parametrize("kernel", [doubled, without_backward, failing])
def test_a_kernel_that_computes_something_else_is_refused_or_left_out(kernel, llama, monkeypatch):
    import torch

    from finetune.models.kernels import put_kernels
    from finetune.models.load import open_base

    liger_stand_in.install(monkeypatch, kernel)
    model = open_base(llama)
    before = logits(model)
    with pytest.raises(FinetuneError, match="do not compute what this model does") as caught:
        put_kernels(model, LIGER, None, "sft")
    assert "sft.train.use_liger_kernel" in str(caught.value)
    on_a_gpu(monkeypatch)
    told = put_kernels(model, {}, None, "sft")
    assert told.startswith("no Liger kernels (")
    assert ("PassManager::run failed" in told) == (kernel is failing)
    assert "more" not in told
    assert torch.equal(logits(model), before)  # nothing of them is left, in instance or library
    assert all(each.grad is None for each in model.parameters())


def rounding(plain):
    """A kernel that rounds another way than the plain one."""
    return lambda *args, **kwargs: _another_way(plain(*args, **kwargs))


def _another_way(found):
    import torch

    if isinstance(found, tuple):
        return tuple(map(_another_way, found))
    draw = torch.randint(2, found.shape, generator=torch.Generator().manual_seed(2))
    return found * (1 - torch.finfo(found.dtype).eps / 2 * draw).to(found)


@pytest.mark.parametrize(("dtype", "cast"), [("bfloat16", None), ("float32", "float16")])
def test_rounding_is_measured_on_the_model_and_forgiven(dtype, cast, bases, monkeypatch):
    import torch

    from finetune.models.kernels import put_kernels
    from finetune.models.load import open_base

    model = open_base(Base(model=str(bases("llama")), dtype=dtype))
    cast = cast and getattr(torch, cast)
    liger_stand_in.install(monkeypatch, rounding)
    assert put_kernels(model, LIGER, cast, "sft") == "Liger kernels"
    monkeypatch.undo()
    liger_stand_in.install(monkeypatch, doubled)
    with pytest.raises(FinetuneError, match="where rounding moves them by"):
        put_kernels(model, LIGER, cast, "sft")


def test_where_a_recipe_does_not_say_the_place_decides(llama, monkeypatch):
    from finetune.models.kernels import put_kernels
    from finetune.models.load import open_base

    model = open_base(llama)
    on_a_gpu(monkeypatch)
    assert put_kernels(model, {}, None, "sft") == ""  # not installed
    liger_stand_in.install(monkeypatch)
    assert put_kernels(model, {}, None, "sft") == "Liger kernels"
    assert put_kernels(model, {"use_liger_kernel": False}, None, "sft") == ""
    monkeypatch.undo()
    liger_stand_in.install(monkeypatch)
    assert put_kernels(model, {}, None, "sft") == ""  # a CPU


@pytest.mark.parametrize(
    ("installed", "interpreted", "kind", "more", "message"),
    [
        (True, False, "llama", {}, "they need a GPU"),
        (False, True, "llama", {}, "pip install liger-kernel"),
        (True, True, "gpt2", {}, "Liger has none for gpt2"),
        (True, True, "llama", {"swigloo": False}, "has no swigloo.*Choose among rms_norm, rope"),
    ],
)
def test_kernels_that_cannot_be_had_are_refused_before_anything_runs(
    installed, interpreted, kind, more, message, bases, rows, tmp_path, monkeypatch
):
    if installed:
        liger_stand_in.install(monkeypatch)
    monkeypatch.setenv("TRITON_INTERPRET", "1" if interpreted else "0")
    train = {**sft(rows).train, **LIGER, **({"liger_kernel_config": more} if more else {})}
    with pytest.raises(FinetuneError, match=f"(?s){message}"):
        run(sft(rows, train=train), ModelRef(base=Base(model=str(bases(kind)))), tmp_path)
    assert not (tmp_path / "history.jsonl").exists()
