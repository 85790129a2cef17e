"""Checks on the embedded chat samples: they are what their maker writes, varied, abstractive, and free of leaks."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "src" / "finetune" / "assets" / "samples"
COUNTS = {
    "samsum/train": 3000,
    "samsum/validation": 200,
    "samsum/test": 300,
    "samsum_preferences/train": 1500,
    "samsum_preferences/test": 200,
}
CHATS = [name for name in COUNTS if name.startswith("samsum/")]
PAIRS = [name for name in COUNTS if name.startswith("samsum_preferences/")]

sys.path.append(str(ROOT / "data"))
from samsum.compose import MAX_SENTENCES  # noqa: E402
from samsum.measure import Overlap, novel_bigram_share, words  # noqa: E402
from samsum.script import read_scenarios  # noqa: E402

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Row]]:
    return {
        name: [
            json.loads(line)
            for line in (SAMPLES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        for name in COUNTS
    }


def speakers(dialogue: str) -> list[str]:
    return [line.split(": ")[0] for line in dialogue.split("\n")]


def mean_words(texts: list[str]) -> float:
    return sum(len(words(text)) for text in texts) / len(texts)


def all_dialogues(rows: dict[str, list[Row]]) -> list[str]:
    return [row["dialogue"] for name in COUNTS for row in rows[name]]


def test_the_committed_files_are_byte_for_byte_what_the_maker_writes(tmp_path: Path) -> None:
    maker = runpy.run_path(str(ROOT / "data" / "make_samsum.py"))
    maker["write_samples"](tmp_path)
    for name in COUNTS:
        assert (tmp_path / f"{name}.jsonl").read_bytes() == (
            SAMPLES / f"{name}.jsonl"
        ).read_bytes(), name


@pytest.mark.parametrize("name", COUNTS)
def test_each_split_has_its_number_of_rows(rows: dict[str, list[Row]], name: str) -> None:
    assert len(rows[name]) == COUNTS[name]


def test_chat_rows_have_id_dialogue_and_summary_and_ids_are_unique(
    rows: dict[str, list[Row]],
) -> None:
    found = [row for name in CHATS for row in rows[name]]
    assert all(set(row) == {"id", "dialogue", "summary"} and all(row.values()) for row in found)
    assert len({row["id"] for row in found}) == len(found)


def test_pair_rows_have_all_keys_and_a_known_kind_of_failing(rows: dict[str, list[Row]]) -> None:
    for row in (row for name in PAIRS for row in rows[name]):
        assert set(row) == {"prompt_id", "dialogue", "chosen", "rejected", "rejected_kind"} and all(
            row.values()
        )
        assert row["rejected_kind"] in {"copied", "invented"}


def test_no_dialogue_and_no_summary_occurs_twice_in_any_split_of_either_set(
    rows: dict[str, list[Row]],
) -> None:
    dialogues = all_dialogues(rows)
    summaries = [row.get("summary", row.get("chosen")) for name in COUNTS for row in rows[name]]
    assert len(set(dialogues)) == len(dialogues)
    assert len(set(summaries)) == len(summaries)


@pytest.mark.parametrize("group", [CHATS, PAIRS])
def test_no_test_dialogue_is_a_near_copy_of_a_train_dialogue(
    rows: dict[str, list[Row]], group: list[str]
) -> None:
    tests = Overlap()
    for row in rows[group[-1]]:
        tests.add(row["dialogue"])
    assert max(tests.closest(row["dialogue"]) for row in rows[group[0]]) <= 0.35


def test_chosen_and_rejected_never_agree(rows: dict[str, list[Row]]) -> None:
    assert not [row for name in PAIRS for row in rows[name] if row["chosen"] == row["rejected"]]


@pytest.mark.parametrize("name", CHATS)
def test_most_bigrams_of_the_summaries_are_not_in_their_dialogues(
    rows: dict[str, list[Row]], name: str
) -> None:
    shares = [novel_bigram_share(row["summary"], row["dialogue"]) for row in rows[name]]
    assert sum(shares) / len(shares) >= 0.75
    assert min(shares) >= 0.6


@pytest.mark.parametrize("name", PAIRS)
def test_copied_rejections_copy_and_invented_ones_do_not(
    rows: dict[str, list[Row]], name: str
) -> None:
    share = {
        row["prompt_id"]: novel_bigram_share(row["rejected"], row["dialogue"]) for row in rows[name]
    }
    copied = [share[row["prompt_id"]] for row in rows[name] if row["rejected_kind"] == "copied"]
    invented = [share[row["prompt_id"]] for row in rows[name] if row["rejected_kind"] == "invented"]
    assert len(copied) == round(0.65 * len(rows[name]))
    assert max(copied) <= 0.4
    assert sum(invented) / len(invented) >= 0.75


@pytest.mark.parametrize("name", PAIRS)
def test_length_does_not_give_the_chosen_summary_away(
    rows: dict[str, list[Row]], name: str
) -> None:
    chosen = mean_words([row["chosen"] for row in rows[name]])
    for kind in ("copied", "invented"):
        rejected = mean_words(
            [row["rejected"] for row in rows[name] if row["rejected_kind"] == kind]
        )
        assert abs(chosen - rejected) / chosen < 0.1, (kind, chosen, rejected)


def test_dialogues_have_four_to_fourteen_turns_and_at_most_140_words(
    rows: dict[str, list[Row]],
) -> None:
    for dialogue in all_dialogues(rows):
        assert 4 <= len(speakers(dialogue)) <= 14
        assert len(dialogue.split()) <= 140


def test_every_line_of_a_dialogue_is_a_name_and_a_text(rows: dict[str, list[Row]]) -> None:
    for dialogue in all_dialogues(rows):
        for line in dialogue.split("\n"):
            name, colon, text = line.partition(": ")
            assert name.isalpha() and name[0].isupper() and colon and text.strip(), line


def test_speakers_come_from_at_least_150_names_and_some_chats_have_three(
    rows: dict[str, list[Row]],
) -> None:
    dialogues = [row["dialogue"] for row in rows["samsum/train"]]
    assert len({name for dialogue in dialogues for name in speakers(dialogue)}) >= 150
    sizes = [len(set(speakers(dialogue))) for dialogue in dialogues]
    assert set(sizes) == {2, 3}
    assert sizes.count(3) >= 100


def test_there_are_at_least_40_scenario_families_each_with_several_outcomes() -> None:
    families = read_scenarios()
    assert len({family.name for family in families}) == len(families) >= 40
    assert min(len(family.of_kind("end")) for family in families) >= 3


def test_no_opening_line_or_shape_dominates(rows: dict[str, list[Row]]) -> None:
    dialogues = [row["dialogue"] for row in rows["samsum/train"]]
    openings = [dialogue.split("\n")[0].split(": ", 1)[1] for dialogue in dialogues]
    assert len(set(openings)) >= 0.6 * len(openings)
    shapes = {
        tuple(name == speakers(dialogue)[0] for name in speakers(dialogue))
        for dialogue in dialogues
    }
    assert len(shapes) >= 200


def test_summaries_are_one_to_three_sentences_with_no_slot_left_open(
    rows: dict[str, list[Row]],
) -> None:
    for row in (row for name in CHATS for row in rows[name]):
        summary = row["summary"]
        assert summary.endswith((".", "?", "!")) and summary[0].isupper(), summary
        assert 1 <= summary.count(". ") + 1 <= MAX_SENTENCES, summary
        assert not set("{}[]|") & set(row["summary"] + row["dialogue"]), row
