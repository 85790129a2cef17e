"""The self-test: it passes here, finds what is broken, and leaves nothing behind."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from finetune import cli
from finetune.commands import selftest as command
from finetune.errors import FinetuneError
from finetune.selftest import run
from finetune.selftest.readings import Outcome, Reading

GOOD = Outcome("good", (Reading("gap", 1e-7, 1e-5),), device="a processor", seconds=1.0)
FAR = Outcome("far", (Reading("gap", 0.5, 1e-5),), seconds=1.0)
LOST = Outcome("lost", (Reading("gap", float("nan"), 1e-5),), seconds=1.0)
BROKEN = Outcome("broken", error="the base cannot be loaded", seconds=1.0)


def ends(capsys, *words):
    """Exit code, standard output and error of the command."""
    try:
        cli.main(["selftest", *words])
        code = 0
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("bad", [FAR, LOST, BROKEN], ids=lambda each: each.check)
def test_one_number_out_of_bounds_or_one_error_ends_with_one(bad, monkeypatch, capsys):
    monkeypatch.setattr(command, "selftest", lambda: iter([GOOD]))
    assert ends(capsys)[0] == 0
    monkeypatch.setattr(command, "selftest", lambda: iter([bad, GOOD]))
    code, out, err = ends(capsys)
    assert code == 1
    assert f"FAIL  {bad.check}" in out
    assert "pass  good" in out
    assert "1 of 2 failed" in err
    code, out, _ = ends(capsys, "--json")
    assert code == 1
    found = json.loads(out)
    assert [each["passed"] for each in found["checks"]] == [False, True]
    assert found["checks"][1]["device"] == "a processor"
    assert "torch" in found["versions"]


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Checks are functions of this test; what they write lies below `tmp_path`."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(run.inside, "import_stages", lambda kinds: None)
    monkeypatch.setattr(run, "_measure", lambda place, folder: ACTS[place](folder))
    return tmp_path


def raises(folder):
    raise FinetuneError("the base cannot be loaded")


ACTS = {
    "good": lambda folder: ([Reading("gap", float(folder.is_dir()), 1.0)], "a processor"),
    "raises": raises,
    "bug": lambda folder: 1 / 0,
    "dies": lambda folder: os._exit(3),
}


def test_a_check_that_raises_or_dies_is_told_and_the_others_go_on(places, capfd):
    first, *bad, last = run.selftest({str(n): each for n, each in enumerate(["good", *ACTS])})
    assert first.passed
    assert [each.passed for each in bad] == [True, False, False]
    assert not last.passed
    assert bad[1].error == "the base cannot be loaded"
    assert "ZeroDivisionError" in bad[2].error
    assert "exit code 3" in last.error
    assert "Traceback" in capfd.readouterr().err
    assert not list(places.iterdir())


def test_ctrl_c_leaves_nothing(places):
    outcomes = run.selftest({"one": "good", "two": "good"})
    next(outcomes)
    assert list(places.iterdir())
    with pytest.raises(KeyboardInterrupt):
        outcomes.throw(KeyboardInterrupt)
    assert not list(places.iterdir())


def measured(place, folder):
    """The readings of one check, in this process."""
    from importlib import import_module

    from finetune.selftest import tiny

    tiny.write(folder)
    module, _, name = place.partition(":")
    return getattr(import_module(f"finetune.selftest.{module}"), name)(folder)


# Two processes of their own are tried in test_launch_ranks, many times over.
HERE = [place for place in run.CHECKS.values() if place != "training:ranks"]


@pytest.mark.heavy
@pytest.mark.parametrize("place", HERE)
def test_this_machine_passes(place, tmp_path, quiet):
    readings = measured(place, tmp_path)
    assert readings
    assert [each for each in readings if not each.passed] == []


def no_count_of_tokens(patch):
    """Every micro-batch's mean counts alike, however many tokens it has."""
    from transformers import Trainer

    patch.setattr(Trainer, "_get_num_items_in_batch", lambda *_: None)


def lost_optimizer(patch):
    from transformers import Trainer

    patch.setattr(Trainer, "_load_optimizer_and_scheduler", lambda *_: None)


def one_long_row(patch):
    """Packed rows in which positions go on from row to row, and no proof before the first step."""
    import torch

    from finetune.data.packing import PackedCollator
    from finetune.models.packed import Leak
    from finetune.stages import layout

    patch.setattr(layout, "keep_apart", lambda model, where: Leak(neighbour=0.0, alone=0.0))
    whole = PackedCollator.__call__

    def positions(self, rows):
        batch = whole(self, rows)
        counted = torch.arange(batch["input_ids"].shape[1])
        return {**batch, "position_ids": counted.expand_as(batch["position_ids"]).clone()}

    patch.setattr(PackedCollator, "__call__", positions)


def padding_seen(patch):
    import torch

    from finetune.selftest import inference

    def padded(rows, pad):
        from finetune.models.generate import left_padded

        ids, mask = left_padded(rows, pad)
        return ids, torch.ones_like(mask)

    patch.setattr(inference, "left_padded", padded)


def other_levels(patch):
    import bitsandbytes

    real = bitsandbytes.nn.Linear4bit.forward
    patch.setattr(bitsandbytes.nn.Linear4bit, "forward", lambda self, x: 1.001 * real(self, x))


def other_reference(patch):
    """The adapter doubled as reference, and no proof before the first step."""
    from finetune.models.stack import TOP
    from finetune.stages import dpo

    def write(model, weights, of, to):
        grown = weights if to == TOP else {name: 2 * each for name, each in weights.items()}
        real(model, grown, of=of, to=to)

    real = dpo.write_adapter
    patch.setattr(dpo, "write_adapter", write)
    patch.setattr(dpo, "_is_proof", lambda *_: True)


def merged_by_half(patch):
    from peft.tuners.lora import Linear

    whole = Linear.get_delta_weight
    patch.setattr(Linear, "get_delta_weight", lambda self, name: whole(self, name) / 2)


def rows_of_their_own(patch):
    """The second process has the rows in another order; Python reads this file where it starts."""
    folder = Path(tempfile.mkdtemp())
    (folder / "sitecustomize.py").write_text(
        "import os\n"
        "if os.environ.get('RANK') == '1':\n"
        "    from finetune.data import order\n"
        "    right = order.training_order\n"
        "    order.training_order = lambda *given: right(*given)[::-1]\n"
    )
    patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    patch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("place", "breaks"),
    [
        ("training:accumulation", no_count_of_tokens),
        ("training:resume", lost_optimizer),
        ("training:packing", one_long_row),
        ("training:dpo", other_reference),
        ("training:merge", merged_by_half),
        ("training:ranks", rows_of_their_own),
        ("inference:generation", padding_seen),
        ("inference:four_bits", other_levels),
    ],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_what_is_broken_is_found(place, breaks, tmp_path, monkeypatch, quiet):
    breaks(monkeypatch)
    assert not all(each.passed for each in measured(place, tmp_path))
