"""What follows from the accelerator, on accelerators that are only pretended."""

import pytest

pytestmark = pytest.mark.heavy


class Config:
    """In place of a TRL config, on a machine with two GPUs."""

    n_gpu = 2

    def __init__(self, **fields):
        vars(self).update(fields)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of a generation, `native` where it computes bfloat16 itself."""
    import torch

    from finetune.models import hardware
    from finetune.stages import training

    def pretend(native):
        def supported(including_emulation=True):
            return native or including_emulation

        monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
        for module in (hardware, training):
            monkeypatch.setattr(module, "device", lambda: torch.device("cuda", 0))
        monkeypatch.setattr(training, "on_cpu", lambda: False)

    return pretend


def config(tmp_path, **settings):
    from finetune.job import Job, ModelRef
    from finetune.recipe.types import Base
    from finetune.stages.training import trainer_config

    job = Job(name="sft", out=tmp_path, seed=1, model=ModelRef(base=Base(model="tiny-mistral")))
    return trainer_config(Config, settings, 8, job)


def test_where_bfloat16_is_native_all_is_in_it(gpu, tmp_path):
    import torch

    from finetune.models.hardware import compute_dtype, dtype

    gpu(native=True)
    assert dtype("auto") is compute_dtype("auto") is torch.bfloat16
    made = config(tmp_path)
    assert (made.bf16, made.fp16) == (True, False)


def test_where_bfloat16_is_emulated_float16_computes_and_weights_are_in_float32(gpu, tmp_path):
    import torch

    from finetune.models.hardware import compute_dtype, dtype

    gpu(native=False)
    assert (dtype("auto"), compute_dtype("auto")) == (torch.float32, torch.float16)
    made = config(tmp_path)
    assert (made.bf16, made.fp16) == (False, True)


@pytest.mark.parametrize("native", [True, False])
def test_what_a_recipe_says_of_precision_stands(native, gpu, tmp_path):
    import torch

    from finetune.models.hardware import compute_dtype

    gpu(native)
    assert compute_dtype("float32") is torch.float32
    for key in ("bf16", "fp16"):
        made = config(tmp_path, **{key: False})
        assert (made.bf16, made.fp16) == (False, False)


def test_one_process_trains_on_one_gpu_however_many_there_are(gpu, tmp_path):
    """Else each step would have as many times `batch_size` rows as there are GPUs."""
    gpu(native=True)
    assert config(tmp_path)._n_gpu == 1
