"""Checks on the corpus of the bases: reproducible, of many kinds, varied, and free of the tasks."""

import gzip
import json
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAKER = ROOT / "data" / "make_corpus.py"
SHIPPED = ROOT / "src" / "finetune" / "assets" / "samples" / "corpus"
LEXICONS = ROOT / "data" / "corpus" / "lexicons"
DOCUMENTS = 1500

sys.path.append(str(ROOT / "data"))
from corpus.lexicon import entries, lines  # noqa: E402
from corpus.mixture import DRILL, MAKERS, WEIGHTS, documents  # noqa: E402
from corpus.words import Draw  # noqa: E402

QUESTION = re.compile(r"\?|\b(how many|which|what|list|show|find|give me|count)\b", re.IGNORECASE)
SQL_LINE = re.compile(r"^(SELECT|INSERT|UPDATE|DELETE|EXPLAIN|CREATE)\b")


def make(folder: Path, name: str, *more: str) -> Path:
    out = folder / name
    command = [sys.executable, str(MAKER), "--out", str(out), "--documents", "300", *more]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def sample() -> list[tuple[str, str]]:
    return list(documents(DOCUMENTS, seed=7))


def shipped_rows(split: str, count: int) -> list[dict[str, str]]:
    with gzip.open(SHIPPED / f"{split}.jsonl.gz", "rt", encoding="utf-8") as rows:
        return [json.loads(next(rows)) for _ in range(count)]


def test_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    assert make(tmp_path, "a.jsonl.gz").read_bytes() == make(tmp_path, "b.jsonl.gz").read_bytes()


def test_another_seed_gives_other_texts(tmp_path: Path) -> None:
    one, two = make(tmp_path, "a.jsonl.gz"), make(tmp_path, "b.jsonl.gz", "--seed", "2")
    assert one.read_bytes() != two.read_bytes()


@pytest.mark.parametrize(("split", "mixture"), [("train", "all"), ("drill", "drill")])
def test_the_shipped_corpus_is_what_the_maker_writes(split: str, mixture: str) -> None:
    assert (SHIPPED / f"{split}.jsonl.gz").stat().st_size <= 6_000_000
    made = [{"text": text} for _, text in documents(400, 1, mixture)]
    assert shipped_rows(split, 400) == made


def test_every_kind_has_a_weight_and_occurs(sample: list[tuple[str, str]]) -> None:
    assert set(MAKERS) == set(WEIGHTS) | set(DRILL)
    assert len(MAKERS) >= 30
    assert set(Counter(kind for kind, _ in sample)) == set(WEIGHTS)


def test_documents_differ(sample: list[tuple[str, str]]) -> None:
    texts = [text for _, text in sample]
    assert len(set(texts)) == len(texts)
    assert all(text.strip() for text in texts)


def test_lexicons_are_wide() -> None:
    assert len(lines("tables")) >= 150
    assert len(lines("columns")) >= 250
    assert len(set(entries("names_female")) | set(entries("names_male"))) >= 200
    nouns = {
        word
        for name in ("nouns", "objects", "foods", "animals", "occupations", "hobbies", "events")
        for word in entries(name)
    }
    assert len(nouns) >= 800


def test_no_line_of_english_stands_over_a_query(sample: list[tuple[str, str]]) -> None:
    """The task is a question answered by a query: no document may hold such a pair."""
    for kind, text in sample:
        rows = text.split("\n")
        for above, line in pairwise(rows):
            if line.startswith("SELECT"):
                assert SQL_LINE.match(above) or kind == "sql_anatomy" or above in {")", ");"}, (
                    kind,
                    text,
                )
                assert not QUESTION.search(re.sub(r"'[^']*'|\w+\.\w+|\w+_\w+", "", above)) or (
                    SQL_LINE.match(above)
                ), (kind, text)


def test_queries_carry_no_comments(sample: list[tuple[str, str]]) -> None:
    for kind, text in sample:
        if kind.startswith("sql_"):
            assert "--" not in text
            assert "/*" not in text


def test_conversations_are_about_no_query_and_no_dialogue() -> None:
    for kind in ("bracket_turns", "line_turns"):
        for number in range(300):
            text = MAKERS[kind](Draw(f"test/{kind}/{number}"))
            assert "SELECT" not in text
            assert "ummar" not in text


def test_chats_stand_alone(sample: list[tuple[str, str]]) -> None:
    """No summary after a chat: each of its lines is somebody's."""
    chats = [text for kind, text in sample if kind == "chat"]
    assert chats
    for text in chats:
        assert all(re.match(r"\w+: ", line) for line in text.split("\n")), text


def test_help_shows_an_example() -> None:
    command = [sys.executable, str(MAKER), "--help"]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "--documents 42000" in told.stdout
