"""Several sources as one: shares are exact, at any place; the order is the seed's alone."""

import itertools
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.data.mixture import apportioned, counted, draws, spread
from finetune.errors import DataError
from finetune.recipe.types import Data, Part
from finetune.tasks.examples import conversations, texts


def parts(*weights, caps=()):
    pairs = itertools.zip_longest(weights, caps)
    return [Part(path="x", weight=weight, cap=cap) for weight, cap in pairs]


def test_rates_are_those_of_the_weights_at_100_000_draws_and_at_any_place_before():
    weights, total = (0.7, 0.2, 0.07, 0.03), 100_000
    counts = counted([500_000, 20_000, 900, 50], parts(*weights), total)
    assert counts == [70_000, 20_000, 7_000, 3_000]
    seen = [0] * 4
    furthest = 0.0
    for place, source in enumerate(spread(counts), start=1):
        seen[source] += 1
        furthest = max(furthest, *(abs(n - place * w) for n, w in zip(seen, weights, strict=True)))
    assert seen == counts
    assert furthest <= 2  # sampling would be off by up to some 400 rows


def test_largest_remainders_keep_the_sum_and_the_quota():
    generator = random.Random(1)
    for _ in range(2000):
        weights = [generator.random() + 1e-3 for _ in range(generator.randint(1, 9))]
        total = generator.randint(0, 10_000)
        counts = apportioned(weights, total)
        quotas = [total * weight / sum(weights) for weight in weights]
        assert sum(counts) == total
        assert all(
            math.floor(q + 1e-9) <= n <= math.ceil(q) for n, q in zip(counts, quotas, strict=True)
        )


def test_without_weights_rows_count_up_to_the_cap_as_in_flan():
    """Wei et al. 2022: a rate is min(rows, cap) over the sum of these."""
    sizes, caps = [10_000, 5_000, 1_000], (3_000, 3_000, 3_000)
    plain = parts(None, None, None, caps=caps)
    assert counted(sizes, plain, None) == [3_000, 3_000, 1_000]
    assert counted(sizes, plain, 14_000) == [6_000, 6_000, 2_000]
    assert counted(sizes, parts(None, None, None), None) == sizes


def test_without_a_total_no_row_is_repeated_and_the_scarcest_source_is_used_up():
    assert counted([100, 30], parts(0.7, 0.3), None) == [70, 30]
    assert counted([100, 300], parts(7, 3), None) == [99, 43]
    assert counted([100, 300], parts(7, 3, caps=(70, None)), None) == [70, 30]


def test_a_cap_holds_beside_weights_and_the_others_take_up_the_rest():
    assert counted([9, 9, 9], parts(2, 1, 1, caps=(10, None, None)), 40) == [10, 15, 15]
    assert counted([9, 9, 9], parts(2, 1, 1, caps=(10, 12, None)), 40) == [10, 12, 18]
    with pytest.raises(DataError, match="allow 22 rows, not 40"):
        counted([9, 9], parts(1, 1, caps=(10, 12)), 40)


def test_draws_pass_over_all_rows_before_any_comes_again():
    drawn = list(draws(10, 25, "7/0"))
    assert sorted(drawn[:10]) == sorted(drawn[10:20]) == list(range(10))
    assert len(set(drawn[20:])) == 5
    assert drawn[:10] != drawn[10:20]
    assert drawn == list(draws(10, 25, "7/0"))
    assert drawn != list(draws(10, 25, "8/0"))


@pytest.fixture
def sources(tmp_path):
    """Three files in three layouts."""
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"prompt": f"a{n}", "completion": "x"}) + "\n" for n in range(100))
    )
    (tmp_path / "b.csv").write_text("question,answer\n" + "".join(f"b{n},x\n" for n in range(50)))
    (tmp_path / "c.json").write_text(
        json.dumps([{"instruction": f"c{n}", "input": "", "output": "x"} for n in range(30)])
    )
    return tmp_path


def asked(found):
    return [each.messages[0]["content"] for each in found]


def mixed(folder, **data):
    mix = tuple(Part(path=str(folder / name), weight=weight) for name, weight in
                (("a.jsonl", 0.5), ("b.csv", 0.3), ("c.json", 0.2)))  # fmt: skip
    return conversations(Data(**{"mix": mix, "seed": 7, **data}))


def test_sources_of_several_layouts_are_mixed_in_exact_shares(sources):
    found = mixed(sources, rows=1000)
    names = [name[0] for name in asked(found)]
    assert [names.count(each) for each in "abc"] == [500, 300, 200]
    for begin in range(0, 1000, 100):
        window = names[begin : begin + 100]
        assert [window.count(each) for each in "abc"] == [50, 30, 20]
    assert {asked(found).count(f"a{n}") for n in range(100)} == {5}
    assert "500 of 100 rows of" in found.said
    assert "5.0 times each" in found.said


def test_origins_follow_their_rows_through_a_mix(sources):
    found = mixed(sources, rows=60, shuffle=True)
    for at, name in enumerate(asked(found)):
        origin = found.origin(at)
        lines = {"a": ("a.jsonl", 1), "b": ("b.csv", 2), "c": ("c.json", 1)}
        file, first = lines[name[0]]
        assert origin.file.endswith(file)
        assert origin.line == (1 if file == "c.json" else int(name[1:]) + first)


def test_the_order_is_the_seeds_alone(sources):
    assert asked(mixed(sources)) == asked(mixed(sources))
    assert asked(mixed(sources)) != asked(mixed(sources, seed=8))
    shuffled = asked(mixed(sources, shuffle=True))
    assert sorted(shuffled) == sorted(asked(mixed(sources)))
    assert shuffled != asked(mixed(sources))


@pytest.mark.heavy
def test_the_order_is_the_same_for_any_number_of_workers(sources):
    from torch.utils.data import DataLoader

    def through(workers):
        loader = DataLoader(mixed(sources), batch_size=None, num_workers=workers)
        return [each.messages[0]["content"] for each in loader]

    assert through(0) == through(1) == through(2) == asked(mixed(sources))


@pytest.mark.heavy
def test_the_order_is_the_same_in_every_process(sources):
    """With other hash seeds and other ranks, as a launcher starts them."""
    program = (
        "import sys; from finetune.recipe.types import Data, Part\n"
        "from finetune.tasks.examples import conversations\n"
        "mix = tuple(Part(path=f'{sys.argv[1]}/{n}', weight=w) for n, w in\n"
        "            (('a.jsonl', 0.5), ('b.csv', 0.3), ('c.json', 0.2)))\n"
        "for each in conversations(Data(mix=mix, seed=7)):\n"
        "    print(each.messages[0]['content'])\n"
    )
    found = []
    for rank in range(2):
        environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2"}
        environment |= {"PYTHONHASHSEED": str(rank)}
        environment["PYTHONPATH"] = str(Path(__file__).parents[1] / "src")
        command = [sys.executable, "-c", program, str(sources)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        found.append(done.stdout.split())
    assert found[0] == found[1] == asked(mixed(sources))


def test_parts_have_columns_rows_and_formats_of_their_own(sources):
    (sources / "d.jsonl").write_text('{"q": "d0", "a": "x", "question": "no"}\n' * 9)
    columns = {"prompt": "q", "completion": "a"}
    mix = (
        Part(path=str(sources / "d.jsonl"), columns=columns, rows=4),
        Part(path=str(sources / "c.json"), format="alpaca", cap=5),
    )
    found = conversations(Data(mix=mix, seed=1))
    assert sorted(name[0] for name in asked(found)) == ["c"] * 5 + ["d"] * 4


def test_a_mix_of_kinds_that_do_not_go_together_is_refused(sources):
    (sources / "t.txt").write_text("a text")
    mix = (Part(path=str(sources / "a.jsonl")), Part(path=str(sources / "t.txt")))
    with pytest.raises(DataError, match=r"t\.txt.*plain text"):
        conversations(Data(mix=mix))
    assert len(texts(Data(mix=mix))) == 101
