"""What the garbage collector passes over, and what it must still find."""

import gc
import weakref

import pytest

from finetune import garbage


class Cycle:
    def __init__(self):
        self.itself = self


@pytest.fixture
def nothing_spared(monkeypatch):
    monkeypatch.setattr(garbage, "_spared", False)
    gc.unfreeze()
    yield
    gc.collect()
    garbage.spare_for_good()  # for the tests that follow


def test_for_a_while_all_that_is_there_is_passed_over_and_then_found(nothing_spared):
    before = Cycle()
    seen = weakref.ref(before)
    with garbage.spared():
        del before
        inside = weakref.ref(Cycle())
        gc.collect()
        assert inside() is None
        assert seen() is not None
    gc.collect()
    assert seen() is None


def test_where_imports_are_spared_for_good_what_comes_after_them_is_always_found(nothing_spared):
    """A model that is open while rows are tokenised must be freed when it is let go."""
    garbage.spare_for_good()
    model = Cycle()
    seen = weakref.ref(model)
    with garbage.spared():
        pass
    del model
    gc.collect()
    assert seen() is None
