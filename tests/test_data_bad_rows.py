"""Rows that cannot be used: each is named or written down; none is lost, none is changed."""

import csv
import io
import json
import re
import shutil
import subprocess
from random import Random

import mutations
import pytest

from finetune.errors import DataError
from finetune.recipe.types import Data
from finetune.tasks.examples import conversations

GOOD = {"prompt": "a", "completion": "b"}
NO_ANSWER = {"prompt": "a", "completion": ""}


def write(path, rows):
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_fail_names_the_first_ten_by_line_and_reason_and_counts_all(tmp_path):
    path = write(tmp_path / "a.jsonl", [GOOD, NO_ANSWER, '{"a', *[GOOD] * 3, *[NO_ANSWER] * 20])
    with pytest.raises(DataError) as caught:
        conversations(Data(path=path))
    text = str(caught.value)
    assert f"{path}: 22 of 26 rows cannot be used" in text
    assert "lines 2, 7, 8, 9, 10, 11, 12, 13, 14: 'completion' is missing or empty" in text
    assert "line 3: is not JSON: Unterminated string starting at column 2" in text
    assert "and 12 more" in text
    assert "data.on_bad_row: skip" in text


def test_skip_leaves_them_out_and_keeps_each_with_its_reason(tmp_path):
    path = write(tmp_path / "a.jsonl", [GOOD, NO_ANSWER, '{"prompt": "\\ud800"', GOOD])
    rows = conversations(Data(path=path, on_bad_row="skip"))
    assert len(rows) == 2
    assert [rows.origin(at).line for at in (0, 1)] == [1, 4]
    assert (rows.refused.count, rows.refused.read) == (2, 4)
    rows.refused.write(tmp_path / "refused.jsonl")
    first, second = map(json.loads, (tmp_path / "refused.jsonl").open())
    assert first == {
        "file": path,
        "line": 2,
        "reason": "'completion' is missing or empty",
        "row": NO_ANSWER,
    }
    assert second["line"] == 3
    assert second["row"] == '{"prompt": "\\ud800"'


def test_skip_does_not_go_on_with_nothing(tmp_path):
    path = write(tmp_path / "a.jsonl", [NO_ANSWER] * 3)
    with pytest.raises(DataError, match="3 of 3 rows cannot be used: lines 1, 2, 3"):
        conversations(Data(path=path, on_bad_row="skip"))


def test_numbers_in_place_of_texts_are_told_together(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"prompt": "a", "completion": at} for at in range(3)])
    with pytest.raises(DataError, match="lines 1, 2, 3: 'completion' is a number"):
        conversations(Data(path=path))


@pytest.mark.skipif(shutil.which("iconv") is None, reason="iconv is not installed")
@pytest.mark.parametrize("name", ["from windows.csv", "rows.jsonl"])
def test_a_table_that_windows_wrote_is_mended_by_the_command_that_is_told(tmp_path, name):
    row = {"prompt": "Was kostet das Café?", "completion": "5 €, „bar“"}
    text = f"{json.dumps(row, ensure_ascii=False)}\n"
    if name.endswith("csv"):
        text = 'prompt,completion\n{prompt},"{completion}"\n'.format_map(row)
    path = tmp_path / name
    path.write_bytes(text.encode("cp1252"))
    with pytest.raises(DataError, match="not UTF-8") as caught:
        conversations(Data(path=str(path)))
    command = re.search(r"iconv .*", str(caught.value))
    subprocess.run(command[0], shell=True, check=True)
    (mended,) = conversations(Data(path=str(path.with_name(f"utf8-{name}"))))
    assert [turn["content"] for turn in mended.messages] == list(row.values())


def test_rows_of_a_task_are_refused_one_by_one(tmp_path):
    row = {"query": "SELECT 1", "context": "CREATE TABLE a (b)"}
    rows = [{"question": f"q{n}", **row} for n in range(600)]
    for bad in (3, 300, 599):
        del rows[bad]["context"]
    path = write(tmp_path / "a.jsonl", rows)
    found = conversations(Data(path=path, on_bad_row="skip"))
    assert (len(found), found.refused.count) == (597, 3)
    assert [origin.line for origin, _ in found.refused.first] == [4, 301, 600]


def test_a_quote_never_closed_costs_one_line_of_a_table(tmp_path):
    lines = ["prompt,completion", *(f"q{n},a{n}" for n in range(50))]
    lines[10] = '"q9,a9'
    path = write(tmp_path / "a.csv", lines)
    rows = conversations(Data(path=path, on_bad_row="skip"))
    assert (len(rows), rows.refused.count) == (49, 1)
    assert rows.refused.first[0][0].line == 11
    (tmp_path / "b.csv").write_text("\n".join([*lines, 'last,"x"']))
    rows = conversations(Data(path=str(tmp_path / "b.csv"), on_bad_row="skip"))
    assert (len(rows), rows.refused.count) == (50, 1)


def test_rows_of_a_table_with_too_few_or_many_values_are_refused(tmp_path):
    path = write(tmp_path / "a.csv", ["prompt,completion", "a", "a,b,c", "a,b", '"a\n\nx",b'])
    rows = conversations(Data(path=path, on_bad_row="skip"))
    assert [rows.origin(at).line for at in range(len(rows))] == [4, 5]
    assert rows.refused.count == 2


def expected(raw):
    """What a line of JSON says by Python's own reader: its two texts, None if it says no such."""
    try:
        given = json.loads(raw.decode())
        return given["prompt"], given["completion"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def check_lines(plain, path):
    """Reading accounts for every line: used exactly as it stands, or refused with its number."""
    path.write_bytes(plain)
    try:
        rows = conversations(Data(path=str(path), on_bad_row="skip", format="prompt_completion"))
    except DataError as error:
        assert re.search(r"(lines? \d+|no rows)", str(error)), error
        return 0, str(error)
    plain = plain.removeprefix(b"\xef\xbb\xbf")
    lines = {n: line for n, line in enumerate(plain.split(b"\n"), 1) if line.strip()}
    used = [rows.origin(at).line for at in range(len(rows))]
    rows.refused.write(path.with_suffix(".refused"))
    refused = [json.loads(line)["line"] for line in path.with_suffix(".refused").open()]
    assert sorted(used + refused) == sorted(lines), "a line is lost, or told twice"
    assert rows.refused.read == len(lines)
    for at, example in enumerate(rows):
        texts = [turn["content"] for turn in example.messages]
        prompt, completion = expected(lines[used[at]])
        assert [prompt, completion] == texts or isinstance(prompt, list)
    return len(refused), ""


@pytest.mark.heavy
def test_8000_mutated_rows_are_used_exactly_or_refused_by_line(tmp_path):
    generator = Random(3)
    mutated = refused = 0
    for number in range(160):
        names = [generator.choice(list(mutations.ROWS)) for _ in range(50)]
        lines = [mutations.ROWS[name](generator) for name in names]
        if number % 40 == 0:
            lines += [make(generator) for make in mutations.RARE.values()]
        generator.shuffle(lines)
        content = b"\n".join([mutations.line(generator), *lines])
        found, error = check_lines(content, tmp_path / "a.jsonl")
        assert not error
        mutated += len(lines)
        refused += found
    assert mutated >= 8000
    assert 0.3 < refused / mutated < 0.9


@pytest.mark.heavy
def test_1000_mutated_files_are_read_whole_or_told_with_the_place(tmp_path):
    generator = Random(4)
    outcomes = {"read": 0, "told": 0}
    for _ in range(1000):
        lines = [mutations.line(generator) for _ in range(12)]
        name = generator.choice(list(mutations.FILES))
        content = mutations.FILES[name](b"\n".join(lines) + b"\n", generator)
        suffix = generator.choice([".jsonl", ".json"])
        path = tmp_path / f"a{suffix}"
        if name == "old Mac" and suffix == ".json":  # one line of objects one after another
            path.write_bytes(content)
            assert len(conversations(Data(path=str(path)))) == len(lines)
            continue
        _, error = check_lines(content, path)
        outcomes["told" if error else "read"] += 1
    assert min(outcomes.values()) > 50


@pytest.mark.heavy
def test_500_mutated_tables_lose_no_line(tmp_path):
    generator = Random(5)
    for _ in range(500):
        file = io.StringIO()
        writer = csv.writer(file, lineterminator=generator.choice(["\n", "\r\n"]))
        writer.writerow(["prompt", "completion"])
        for _ in range(12):
            given = mutations.row(generator)
            writer.writerow([given["prompt"], given["completion"]])
        content = bytearray(file.getvalue().encode())
        for _ in range(generator.randint(0, 3)):
            at = generator.randrange(20, len(content))
            content[at : at + 1] = generator.choice([b'"', b",", b"\xff", b"\n", b"", b"\x00"])
        path = tmp_path / "a.csv"
        path.write_bytes(bytes(content))
        try:
            rows = conversations(Data(path=str(path), on_bad_row="skip"))
        except DataError as error:
            assert re.search(r"lines? \d+", str(error)), error
            continue
        records = [(row["line"], row["row"]) for row in _refused(rows, tmp_path)]
        for at, example in enumerate(rows):
            texts = {turn["role"]: turn["content"] for turn in example.messages}
            records.append((rows.origin(at).line, texts))
        covered = {1, *(n for line, row in records for n in range(line, line + _height(row)))}
        lines = bytes(content).split(b"\n")
        assert {n for n, line in enumerate(lines, 1) if line.strip(b"\r")} <= covered


def _height(row):
    """Lines that a record takes up; one where it could not be read as a record."""
    return 1 + sum(text.count("\n") for text in row.values()) if isinstance(row, dict) else 1


def _refused(rows, folder):
    rows.refused.write(folder / "refused.jsonl")
    return [json.loads(line) for line in (folder / "refused.jsonl").open()]


@pytest.mark.heavy
def test_500_damaged_archives_are_read_whole_or_told_with_the_line(tmp_path):
    generator = Random(6)
    told = 0
    for _ in range(500):
        lines = [mutations.line(generator) for _ in range(30)]
        content = b"\n".join(lines)
        path = tmp_path / "a.jsonl.gz"
        path.write_bytes(mutations.packed(content, generator))
        try:
            assert len(conversations(Data(path=str(path)))) == 30
        except DataError as error:
            told += 1
            assert re.search(r"line \d+", str(error)), error
    assert told > 200
