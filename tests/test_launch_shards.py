"""Weights that two ranks share: each holds its part, and what is saved is whole."""

import importlib.util
import sys
from datetime import timedelta

import pytest
from together import Ranks

pytestmark = pytest.mark.heavy
PATIENCE = timedelta(seconds=30)


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def both(work, log, profile):
    """Run `work` on two ranks of one group; it asserts."""

    def guarded():
        from finetune.chain import group

        group.PATIENCE = PATIENCE  # a rank that waits in vain is a failure
        group.prepare()
        group.join(0)
        work()
        group.leave()
        return 0

    codes = Ranks(guarded, log, profile).wait()
    assert codes == [0, 0], log.read_text()


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="needs deepspeed")
def test_zero3_loads_a_model_to_train_in_shards_and_any_other_whole(random_mistral, tmp_path):
    from finetune.job import ModelRef
    from finetune.models import distributed
    from finetune.models.load import open_model, parameter_count
    from finetune.recipe.types import Base

    ref = ModelRef(base=Base(model=str(random_mistral)))
    whole = open_model(ref)
    wanted = {name: each.clone() for name, each in whole.named_parameters()}

    def work():
        with distributed.loaded_in_shards():
            shared = open_model(ref, trainable=True)
        shared.requires_grad_(True)
        assert all(each.numel() == 0 for each in shared.parameters())
        held = sum(distributed.shard(each).numel() for each in shared.parameters())
        everything = sum(each.numel() for each in wanted.values())
        assert everything / 2 <= held < everything / 2 * 1.01
        assert parameter_count(shared, trainable=True) == everything
        gathered = distributed.trained_weights(shared)
        assert all((gathered[name] == each).all() for name, each in wanted.items())
        later = open_model(ref)
        assert all((each == wanted[name]).all() for name, each in later.named_parameters())
        assert distributed.trained_weights(later.requires_grad_(True)) is None

    both(work, tmp_path / "log", "zero3")


@pytest.mark.parametrize("storage", ["bfloat16", "float32"])
def test_fsdp2_computes_with_4_bits_as_one_process_does(storage, random_mistral, tmp_path):
    """Packed bytes in floating-point words come out of the shards as they went in.

    bitsandbytes#1945 reports a device on which they do not.
    """
    import torch

    def work():
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        from finetune.models import distributed
        from finetune.models.adapters import add_adapter
        from finetune.models.load import open_base
        from finetune.recipe.types import Base

        bits = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
        bits["bnb_4bit_quant_storage"] = storage
        base = open_base(Base(model=str(random_mistral), dtype=storage, quantization=bits))
        model = add_adapter(base, {"r": 4}, seed=1)
        for name, each in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(each)
        wanted = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        ids = torch.arange(5, 60)[None]
        with torch.no_grad():
            alone = model(input_ids=ids).logits
        mesh = init_device_mesh("cpu", (2,))
        for layer in model.get_base_model().model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        shared = model(input_ids=ids, labels=ids)
        assert torch.equal(shared.logits, alone)
        shared.loss.backward()
        saved = distributed.trained_weights(model)
        assert all(torch.equal(saved[name], each) for name, each in wanted.items())

    both(work, tmp_path / "log", "cpu_2")


def test_ranks_agree_only_where_all_do(tmp_path):
    from finetune import ranks
    from finetune.models.distributed import all_agree

    def work():
        assert all_agree(value=True)
        assert not all_agree(ranks.rank() == 0)
        assert not all_agree(ranks.rank() == 1)
        assert not all_agree(value=False)

    both(work, tmp_path / "log", "cpu_2")


def test_kernels_that_one_machine_lacks_are_taken_by_none(bases, tmp_path):
    import liger_stand_in

    from finetune import ranks
    from finetune.models import kernels
    from finetune.models.load import open_base
    from finetune.recipe.types import Base

    llama = Base(model=str(bases("llama")), dtype="float32")

    def work():
        patch = pytest.MonkeyPatch()
        patch.setattr(kernels, "on_cpu", lambda: False)
        if ranks.is_main():
            liger_stand_in.install(patch)
        else:
            patch.setitem(sys.modules, "liger_kernel", None)
        told = kernels.put_kernels(open_base(llama), {}, None, "sft")
        missing = "no Liger kernels (another process cannot have them)"
        assert told == (missing if ranks.is_main() else "")

    both(work, tmp_path / "log", "cpu_2")
