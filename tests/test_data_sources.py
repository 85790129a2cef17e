"""Where rows come from: every kind of file gives the same rows, values untouched."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.errors import DataError
from finetune.recipe.types import Data
from finetune.tasks.examples import conversations, texts

# What readers that guess types change: leading zeros, words for nothing, numbers, dates.
ROWS = [
    {"prompt": "007", "completion": "NA"},
    {"prompt": "nan", "completion": "1e5"},
    {"prompt": "  two spaces ", "completion": "null"},
    {"prompt": "line\nbreak, comma", "completion": 'a "quoted" word'},
    {"prompt": "漢字 🙂 é", "completion": "2026-11-21"},
    {"prompt": "tab\there", "completion": "nul \x00 byte"},
]


def both(data):
    """(prompt, completion) of each example."""
    return [tuple(turn["content"] for turn in each.messages) for each in conversations(data)]


def as_jsonl(rows=ROWS):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(delimiter=","):
    def cell(text):
        return '"' + text.replace('"', '""') + '"'

    lines = [delimiter.join(("prompt", "completion"))]
    lines += [delimiter.join(map(cell, row.values())) for row in ROWS]
    return "\n".join(lines).encode()


def zstd(content):
    import pyarrow

    return pyarrow.compress(content, codec="zstd", asbytes=True)


def parquet(path, rows):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def arrow(path, rows):
    import pyarrow

    table = pyarrow.Table.from_pylist(rows)
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)


FILES = {
    "rows.jsonl": as_jsonl(),
    "marked.jsonl": b"\xef\xbb\xbf" + as_jsonl(),
    "windows.jsonl": as_jsonl().replace(b"\n", b"\r\n"),
    "blank.jsonl": b"\n\n" + as_jsonl().replace(b"\n", b"\n \n"),
    "unended.jsonl": as_jsonl().rstrip(b"\n"),
    "really_lines.json": as_jsonl(),
    "array.json": json.dumps(ROWS).encode(),
    "pretty.json": json.dumps(ROWS, indent=2).encode(),
    "really_array.jsonl": json.dumps(ROWS, indent=1).encode(),
    "one_line_array.jsonl": json.dumps(ROWS).encode(),
    "under_a_key.json": json.dumps({"version": 1, "data": ROWS}).encode(),
    "objects.json": "\n".join(json.dumps(row, indent=1) for row in ROWS).encode(),
    "rows.csv": as_csv(),
    "semicolons.csv": b"\xef\xbb\xbf" + as_csv(";"),
    "rows.tsv": as_csv("\t"),
    "rows.jsonl.gz": gzip.compress(as_jsonl()),
    "rows.csv.bz2": bz2.compress(as_csv()),
    "rows.jsonl.xz": lzma.compress(as_jsonl()),
    "array.json.gz": gzip.compress(json.dumps(ROWS).encode()),
}


@pytest.mark.parametrize("name", [*FILES, "rows.jsonl.zst", "rows.parquet", "rows.arrow"])
def test_every_kind_of_file_gives_the_same_rows_untouched(name, tmp_path):
    path = tmp_path / name
    if path.suffix in {".parquet", ".arrow"}:
        {".parquet": parquet, ".arrow": arrow}[path.suffix](path, ROWS)
    else:
        path.write_bytes(FILES[name] if name in FILES else zstd(as_jsonl()))
    wanted = [tuple(row.values()) for row in ROWS]
    assert both(Data(path=str(path))) == wanted


def test_a_row_knows_its_file_and_line_or_row(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\n\n" + as_jsonl())
    first = conversations(Data(path=str(tmp_path / "a.jsonl"))).origin(0)
    assert str(first).endswith("a.jsonl line 3")
    (tmp_path / "a.csv").write_bytes(as_csv())
    lines = conversations(Data(path=str(tmp_path / "a.csv")))
    assert [lines.origin(at).line for at in range(6)] == [2, 3, 4, 5, 7, 8]
    (tmp_path / "a.json").write_bytes(json.dumps(ROWS, indent=1).encode())
    assert conversations(Data(path=str(tmp_path / "a.json"))).origin(1).line == 6
    parquet(tmp_path / "a.parquet", ROWS)
    assert str(conversations(Data(path=str(tmp_path / "a.parquet"))).origin(1)).endswith("row 2")


def test_examples_are_a_sequence(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(as_jsonl())
    rows = conversations(Data(path=str(tmp_path / "a.jsonl")))
    assert len(rows) == len(ROWS)
    assert rows[-1] == list(rows)[-1]
    assert list(rows[1:4]) == list(rows)[1:4]
    assert list(rows.select([3, 1])) == [rows[3], rows[1]]
    assert rows.select([3, 1]).origin(0).line == 4
    with pytest.raises(IndexError):
        rows[len(ROWS)]


def test_files_of_a_folder_and_of_a_pattern_come_in_the_order_of_their_names(tmp_path):
    for number in (2, 0, 1):
        (tmp_path / str(number)).mkdir()
        row = {"text": f"text {number}"}
        (tmp_path / str(number) / "train.jsonl").write_text(json.dumps(row))
        (tmp_path / str(number) / "test.jsonl").write_text(json.dumps({"text": "test"}))
    found = texts(Data(path=f"{tmp_path}/*/train.jsonl"))
    assert [each.text for each in found] == ["text 0", "text 1", "text 2"]
    assert len(texts(Data(path=f"{tmp_path}/**/*.jsonl"))) == 6
    assert [each.text for each in texts(Data(path=f"{tmp_path}/1"))] == ["text 1"]
    assert [each.text for each in texts(Data(path=f"{tmp_path}/1", split="test"))] == ["test"]


@pytest.mark.parametrize(
    ("files", "path", "split", "read"),
    [
        (["a.jsonl", "b.jsonl"], ".", "train", ["a.jsonl", "b.jsonl"]),
        (["train_sft.jsonl", "test_sft.jsonl"], ".", "test_sft", ["test_sft.jsonl"]),
        (["train.jsonl", "dev.jsonl"], "*.jsonl", "dev", ["dev.jsonl"]),
        (["test.jsonl"], "test.jsonl", "train", ["test.jsonl"]),
        (["test.jsonl"], "test.jsonl", "test", ["test.jsonl"]),
    ],
)
def test_a_split_is_the_files_named_after_it(tmp_path, files, path, split, read):
    for name in files:
        (tmp_path / name).write_text(json.dumps({"text": name}))
    found = texts(Data(path=str(tmp_path / path), split=split))
    assert [each.text for each in found] == read


@pytest.mark.parametrize(
    ("files", "path", "split", "told"),
    [
        (["a.jsonl"], "a.jsonl", "validation", "one file has no split 'validation'"),
        (["a.jsonl"], ".", "test", "no file here is of the split 'test'"),
        (["train_sft.jsonl", "test_sft.jsonl"], ".", "train", "one of: test_sft, train_sft"),
        (["train.jsonl", "test.jsonl"], ".", "dev", "one of: test, train"),
        (["test-00000-of-00001.jsonl", "a.jsonl"], ".", "train", "one of: test"),
        (["train.jsonl"], "*.jsonl", "dev", "one of: train"),
    ],
)
def test_rows_of_another_split_are_never_read_in_its_place(tmp_path, files, path, split, told):
    for name in files:
        (tmp_path / name).write_text(json.dumps({"text": name}))
    with pytest.raises(DataError) as error:
        texts(Data(path=str(tmp_path / path), split=split))
    assert told in str(error.value)


def test_a_folder_may_hold_files_whose_columns_have_other_types(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "completion": "b", "id": 1}\n')
    (tmp_path / "b.jsonl").write_text('{"prompt": "c", "completion": "d", "id": "x", "more": []}\n')
    assert both(Data(path=str(tmp_path))) == [("a", "b"), ("c", "d")]


def test_rows_takes_the_first_and_reads_no_further(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(as_jsonl() * 50 + b"broken\n")
    assert both(Data(path=str(tmp_path / "a.jsonl"), rows=2)) == [
        tuple(r.values()) for r in ROWS[:2]
    ]


def test_shuffle_is_the_seeds_alone_and_comes_before_rows(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(map(str, range(100))))

    def drawn(**more):
        return [each.text for each in texts(Data(path=str(tmp_path / "a.txt"), **more))]

    whole = drawn(shuffle=True, seed=1)
    assert sorted(whole, key=int) == drawn()
    assert whole != drawn()
    assert whole == drawn(shuffle=True, seed=1)
    assert whole != drawn(shuffle=True, seed=2)
    assert drawn(shuffle=True, seed=1, rows=5) == whole[:5]


def test_columns_gives_names_to_columns(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"frage": "a", "antwort": "b", "prompt": "old"}\n')
    columns = {"prompt": "frage", "completion": "antwort"}
    assert both(Data(path=str(tmp_path / "a.jsonl"), columns=columns)) == [("a", "b")]
    assert conversations(Data(path=str(tmp_path / "a.jsonl"), columns=columns)).said == (
        "reads as prompt and completion, from frage/antwort"
    )
    with pytest.raises(DataError, match="no column 'frag'"):
        both(Data(path=str(tmp_path / "a.jsonl"), columns={"prompt": "frag"}))


def test_a_file_without_permission_is_not_called_damaged(tmp_path, monkeypatch):
    """Root may read whatever there is, so that the system's refusal is put in place here."""
    (tmp_path / "a.csv").write_text("prompt,completion\na,b\n")

    def refused(file):
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr("finetune.data.lines.opened", refused)
    with pytest.raises(DataError, match=r"a\.csv: you may not read this file"):
        both(Data(path=str(tmp_path / "a.csv")))


def test_a_column_that_is_not_there_is_answered_with_the_near_one_and_the_files_own_names(tmp_path):
    (tmp_path / "a.csv").write_text("He says,They reply \na,b\n")
    columns = {"prompt": "He says", "completion": "They reply"}
    with pytest.raises(DataError, match=r"Did you mean 'They reply '.*: 'They reply ', He says"):
        both(Data(path=str(tmp_path / "a.csv"), columns=columns))
    with pytest.raises(DataError, match=r"such as columns: {prompt: YOURS, completion: YOURS}"):
        both(Data(path=str(tmp_path / "a.csv")))


BROKEN = {
    "empty.jsonl": (b"", "no rows"),
    "blank.txt": (b"\n \n", "no rows"),
    "head.csv": (b"prompt,completion\n", "no rows"),
    "utf16.jsonl": (
        as_jsonl().decode().encode("utf-16"),
        "line 1: .* UTF-16.*\n.*iconv -f UTF-16 ",
    ),
    "cut.jsonl.gz": (gzip.compress(as_jsonl() * 99)[:-20], "line 5.*breaks off"),
    "no.jsonl.gz": (as_jsonl(), "line 1.*breaks off"),
    "cut.jsonl.xz": (lzma.compress(as_jsonl())[:-8], "line 7: the file breaks off"),
    "open.json": (json.dumps(ROWS, indent=1).encode()[:-2], "line 25: the array is not closed"),
    "fault.json": (b'[\n{"prompt": "a"},\n{"prompt" "b"}\n]', "line 3: not JSON"),
    "behind.json": (b'[{"prompt": "a", "completion": "b"}]\n[]', "line 2|follows the end"),
    "latin.json": ('[\n{"prompt": "é"}]'.encode("latin-1"), "line 2: not UTF-8\n.*CP1252"),
    "twice.csv": (b"prompt,prompt\na,b\n", "line 1: the first line"),
    "open.csv": (b'prompt,"completion\na,b\n', "line 1: is not CSV"),
    "no.parquet": (b"PAR1 no", "row 1: cannot be read"),
    "no.arrow": (b"no", "row 1: cannot be read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_read_on_is_told_with_the_place(name, tmp_path):
    content, told = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    for on_bad_row in ("fail", "skip"):
        with pytest.raises(DataError, match=told) as caught:
            conversations(Data(path=str(tmp_path / name), on_bad_row=on_bad_row))
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"path": "nowhere.jsonl"}, "no such file"),
        ({"path": "nowhere/*.jsonl"}, "no file matches"),
        ({"path": "FOLDER/a.jsonl", "streaming": True}, "`streaming` is of a hub id"),
        ({"path": "FOLDER/a.jsonl", "revision": "main"}, "`revision` is of a hub id"),
        ({"path": "FOLDER/a.doc"}, "cannot tell how to read files of kind .doc"),
        ({"path": "FOLDER/[ab].*"}, "files of kind .doc, .jsonl"),
    ],
)
def test_a_source_that_is_not_there_or_not_of_a_kind_is_told(data, told, tmp_path):
    for name in ("a.jsonl", "a.doc"):
        (tmp_path / name).write_bytes(as_jsonl())
    path = data["path"].replace("FOLDER", str(tmp_path))
    with pytest.raises(DataError, match=told):
        conversations(Data(**{**data, "path": path}))


@pytest.mark.heavy
def test_a_hub_id_that_cannot_be_reached_is_told(tmp_path):
    """In a process of its own: the hub's library reads its switch at import."""
    program = (
        "from finetune.errors import DataError\n"
        "from finetune.recipe.types import Data\n"
        "from finetune.tasks.examples import texts\n"
        "for streaming in (False, True):\n"
        "    try:\n"
        "        texts(Data(path='nobody/never-heard-of', streaming=streaming))\n"
        "    except DataError as error:\n"
        "        print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1] / "src")
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.count("nobody/never-heard-of: cannot be read from the hub") == 2, done.stderr


def test_a_hub_that_does_not_answer_is_told_once_and_not_at_each_try(monkeypatch, capsys):
    from huggingface_hub.utils import _http
    from huggingface_hub.utils._http import http_backoff

    from finetune.stages.quiet import Unanswered

    waited = []
    monkeypatch.setattr(_http.time, "sleep", waited.append)
    listening = Unanswered()
    _http.logger.addFilter(listening)
    try:
        with pytest.raises(Exception, match="refused"):
            http_backoff("GET", "http://127.0.0.1:9/nobody/x")
    finally:
        _http.logger.removeFilter(listening)
    assert len(waited) == 5
    told = capsys.readouterr().err
    assert told.count("\n") == told.count("http://127.0.0.1:9/nobody/x") == 1
    assert "it is asked again" in told


def test_nothing_is_left_behind_in_the_folder_for_temporary_files(tmp_path, monkeypatch):
    import gc
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "a.jsonl").write_bytes(as_jsonl())
    rows = conversations(Data(path=str(tmp_path / "a.jsonl")))
    part = rows[2:]
    assert list(tmp_path.glob("finetune-scratch-*"))
    del rows
    gc.collect()
    assert len(part) == len(list(part)) == 4
    del part
    gc.collect()
    assert not list(tmp_path.glob("finetune-scratch-*"))
