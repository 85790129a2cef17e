"""`finetune preview`: what it shows is what the trainer gets, and text of strangers cannot act."""

import json
import re
from html.parser import HTMLParser

import pytest
from tiny_chain import ends

from finetune.preview.pieces import Part, Piece, Preview, Row
from finetune.preview.terminal import text, wants_colour

NASTY = "<script>alert(1)</script> \x1b[31mred \u202eabc </s> & \u2028"
PIECES = (
    Piece("<s>", (1,), special=True),
    Piece("ask\n", (5,)),
    Piece("</s>", (2,), special=True, lookalike=True),
    Piece("…", (7,), gap=True),
    Piece("yes", (8, 9), learnt=True),
    Piece("</s>", (2,), learnt=True, special=True),
    Piece("lost", (4,), learnt=True, cut=True),
)


def shown(**more):
    row = Row(3, "rows.jsonl line 3", (Part(PIECES),), ("a note",))
    return Preview("name: sft", "9 rows", (row,), **more)


def test_without_colour_brackets_tell_what_is_learnt_and_what_is_cut():
    plain = text(shown(), colour=False)
    assert "\x1b" not in plain
    assert "<s>ask↵\n‼{</s>}✂…⟦yes</s>⟧✂{lost}" in plain
    assert "row 3  rows.jsonl line 3  7 tokens, 3 learnt (43%)\n  a note\n" in plain


def test_colours_take_nothing_from_the_text():
    coloured = text(shown(), colour=True)
    assert "\x1b[32myes\x1b[0m" in coloured
    bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert "<s>ask↵\n</s>…yes</s>lost" in bare


def test_colours_are_for_terminals_or_for_who_asks(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_colour(asked=False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(asked=False)
    assert wants_colour(asked=True)


@pytest.mark.parametrize("colour", [True, False])
def test_text_of_strangers_sends_nothing_to_the_terminal(colour):
    row = Row(1, NASTY, (Part((Piece(NASTY, (1,)),)),), (NASTY,))
    found = text(Preview("x", "1 row", (row,)), colour)
    assert "\x1b[31m" not in found.replace("\x1b[7;31m", "").replace("\x1b[9;31m", "")
    assert "\u202e" not in found


class Page(HTMLParser):
    """Gathers tags, and the text of tokens."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.tokens, self.inside = [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag == "span" and "title" in dict(attrs)
        if self.inside:
            self.tokens.append([dict(attrs)["class"], dict(attrs)["title"], ""])

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.tokens[-1][2] += data


def test_a_page_holds_every_token_with_its_ids_and_fetches_nothing():
    from finetune.preview.page import page

    row = Row(1, NASTY, (Part((*PIECES, Piece(NASTY, (11, 12)))),), (NASTY,))
    html = page(Preview("x", "1 row", (row,), (NASTY,)))
    found = Page(html)
    assert [each[1] for each in found.tokens] == ["1", "5", "2", "7", "8 9", "2", "4", "11 12"]
    assert found.tokens[4][0] == "t learnt"
    assert "<script>alert(1)</script>" in found.tokens[-1][2]
    assert not {"script", "img", "iframe", "object"} & {tag for tag, _ in found.tags}
    assert all(not re.match("(?i)https?:", str(v)) for _, a in found.tags for v in a.values())
    policies = [a["content"] for tag, a in found.tags if "http-equiv" in a]
    assert policies[0].startswith("default-src 'none'")
    assert "prefers-color-scheme: dark" in html


ANSWERS = [
    {"prompt": f"Colour of lamp {n}?" + " please" * 90 * (n == 1), "completion": f"{n}. </s> red"}
    for n in range(4)
]
PAIRS = [
    {"prompt": row["prompt"], "chosen": row["completion"], "rejected": "no"} for row in ANSWERS
]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, random_mistral):
    """A recipe of the three kinds of stage, over a tiny base."""
    import yaml

    folder = tmp_path_factory.mktemp("preview")
    for name, rows in (("answers", ANSWERS), ("pairs", PAIRS)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "texts.txt").write_text("one lamp\ntwo lamps\n" * 40)
    train = {"max_length": 60}
    stages = [
        {"pretrain": {"data": str(folder / "texts.txt"), "train": {"max_length": 16}}},
        {"sft": {"data": str(folder / "answers.jsonl"), "lora": {}, "train": train}},
        {"dpo": {"data": str(folder / "pairs.jsonl"), "train": train}},
        {"merge": {}},
    ]
    made = {"name": "tiny", "base": {"model": str(random_mistral)}, "stages": stages}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(made))
    return folder / "tiny.yaml"


def gathered(recipe, name, count=4):
    from finetune.preview.gather import preview
    from finetune.recipe import load

    loaded = load(recipe, [])
    stage = next(stage for stage in loaded.stages if stage.name == name)
    return loaded, stage, preview(loaded, stage, range(count))


def tokens(part):
    return [token for piece in part.pieces if not piece.cut for token in piece.ids]


@pytest.mark.heavy
def test_rows_of_sft_are_those_of_the_trainer(recipe):
    from finetune.data.tokens import IGNORED, encode
    from finetune.models.tokenizers import load_tokenizer
    from finetune.tasks.examples import conversations

    loaded, stage, found = gathered(recipe, "sft")
    tokenizer, _ = load_tokenizer(loaded.base)
    wanted = encode(tokenizer, conversations(stage.data), 60)
    for row, given in zip(found.rows, wanted, strict=True):
        (part,) = row.parts
        assert tokens(part) == given.input_ids
        flags = [piece.learnt for piece in part.pieces if not piece.cut for _ in piece.ids]
        assert flags == [label != IGNORED for label in given.labels]
        assert part.learnt == given.learnt
        assert sum(piece.lookalike for piece in part.pieces) == given.lookalikes == 1
        gaps = "".join(piece.text for piece in part.pieces if piece.gap)
        assert gaps.strip() == ("…" if given.shortened else "")
    assert "lost" in found.rows[1].notes[0]
    assert found.rows[2].origin.endswith("answers.jsonl line 3")


@pytest.mark.heavy
def test_pairs_of_dpo_are_those_of_the_trainer(recipe):
    from finetune.data.pairs import fit, token_ids
    from finetune.models.tokenizers import load_tokenizer
    from finetune.tasks.examples import pairs

    loaded, stage, found = gathered(recipe, "dpo")
    tokenizer, _ = load_tokenizer(loaded.base)
    for row, given in zip(found.rows, pairs(stage.data), strict=True):
        pair = fit(tokenizer, given, 60).pair
        assert tuple(map(tokens, row.parts)) == token_ids(tokenizer, pair)
        assert [part.title for part in row.parts] == ["prompt", "chosen", "rejected"]
        assert [part.learnt > 0 for part in row.parts] == [False, True, True]


@pytest.mark.heavy
def test_blocks_of_pretraining_are_those_of_the_trainer(recipe, tmp_path):
    from finetune.models.tokenizers import load_tokenizer
    from finetune.stages.pretrain import _blocks
    from finetune.tasks.examples import texts

    loaded, stage, found = gathered(recipe, "pretrain", count=1000)
    tokenizer, _ = load_tokenizer(loaded.base)
    blocks = _blocks(tokenizer, texts(stage.data), 16, tmp_path / "blocks.arrow")
    assert [tokens(row.parts[0]) for row in found.rows] == list(blocks["input_ids"])


@pytest.mark.heavy
def test_the_command_shows_rows_writes_pages_and_says_what_it_cannot(recipe, capfd, tmp_path):
    assert ends("preview", str(recipe), "sft", "--rows", "2") == 0
    out, err = capfd.readouterr()
    assert "tiny: sft, 4 rows" in out
    assert out.count("\nrow ") == 2
    assert "\x1b" not in out
    assert err == ""
    assert ends("preview", str(recipe), "dpo", "--row", "2", "--color") == 0
    out, _ = capfd.readouterr()
    assert "row 2" in out
    assert "\x1b[32m" in out
    page = tmp_path / "rows.html"
    assert ends("preview", str(recipe), "--html", str(page)) == 0
    assert "tiny: pretrain" in page.read_text()
    for arguments, reason in (
        (["merge"], "trains on no rows"),
        (["sft", "--row", "9"], "there is no row 9"),
        (["stf"], "Did you mean 'sft'?"),
        (["sft", "--rows", "0"], "wanted is a number from 1"),
    ):
        capfd.readouterr()
        assert ends("preview", str(recipe), *arguments) in (1, 2)
        assert reason in capfd.readouterr().err
