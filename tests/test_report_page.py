"""The report of a run: whole, safe, and with the records' very numbers."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
import report_run
from report_run import HOSTILE

from finetune.errors import FinetuneError
from finetune.recipe.types import Base, Recipe
from finetune.report.curves import curves, overlaid
from finetune.report.examples import EACH, choose, examples
from finetune.report.gather import gather
from finetune.report.layout import number
from finetune.report.leave import leaving_report
from finetune.report.page import TEMPLATES
from finetune.report.run_page import page, report
from finetune.report.scores import tables
from finetune.report.text import visible

VOID = {"meta", "link", "input", "br"}
KNOWN = """
meta link input html head title style body a header p h1 h2 h3 h4 h5 b time span nav ul ol li main
section div figure figcaption svg desc path text g circle rect polyline details summary table thead
tbody tr th td em strong mark article fieldset legend label dl dt dd pre code footer
"""


class Page(HTMLParser):
    """Elements, text and tables; a tag that is not closed where it should be is an error."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.links, self.ids, self.named = [], [], [], [], []
        self.handlers, self.cells, self.told, self.style = [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        assert len(found) == len(attrs), f"an attribute twice in <{tag}>"
        self.tags.append(tag)
        self.links += [found[name] for name in ("href", "src", "action", "data") if name in found]
        self.ids += [found["id"]] if "id" in found else []
        for name in ("aria-labelledby", "aria-describedby"):
            self.named += found.get(name, "").split()
        self.handlers += [name for name in found if name.startswith("on") or name == "style"]
        if "data-value" in found:
            self.cells.append([found["data-value"], ""])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.style += data
            return
        self.told.append(data)
        if self.cells and self.open and self.open[-1] in ("strong", "td"):
            self.cells[-1][1] += data if not self.cells[-1][1] else ""

    @property
    def text(self):
        return "".join(self.told)


@pytest.fixture
def folder(tmp_path):
    return report_run.make(tmp_path / "run")


@pytest.fixture
def shown(folder):
    return Page(page(gather(folder)))


def test_every_number_of_the_comparison_stands_in_the_page_as_the_file_has_it(shown):
    found = {(float(value), text) for value, text in shown.cells}
    compared = report_run.comparison(1.0)["samsum"]
    means = [v["mean"] for values in compared["models"].values() for v in values.values()]
    gaps = [p["difference"] for pairs in compared["pairs"].values() for p in pairs.values()]
    assert {(mean, number(mean)) for mean in means} <= found
    assert set(gaps) <= {value for value, _ in found}
    for values in compared["models"].values():
        for value in values.values():
            assert f"{number(value['low'])} to {number(value['high'])}" in shown.text


def test_scores_of_each_group_of_rows_stand_in_the_page(shown):
    (kind, labels), *_ = report_run.comparison(1.0)["samsum"]["groups"].items()
    assert f"by {kind}" in shown.text
    for label, group in labels.items():
        assert f"{label}{number(group['rows'])} rows" in shown.text
        mean = group["models"]["sft"]["rouge1"]
        assert shown.cells.count([f"{mean}", number(mean)]) == len(report_run.MODELS)


def test_hostile_text_stays_text(shown):
    assert set(shown.tags) <= set(KNOWN.split())
    assert not shown.handlers
    for text in (*HOSTILE[:4], "{{ 7 * 7 }} {% raw %} ${x} &lt;b&gt; &amp;"):
        assert text in shown.text
    assert shown.tags.count("h1") == shown.tags.count("style") == 1


def test_what_a_judge_said_last_stands_beside_the_answer_as_text(shown):
    for text in HOSTILE[:4]:
        assert f"judged: {text}" in shown.text


def test_the_page_names_nothing_outside_itself(shown):
    assert all(link.startswith("#") or link == "data:," for link in shown.links)
    assert "@import" not in shown.style
    assert "url(" not in shown.style


def test_ids_are_given_once_and_what_is_referred_to_is_there(shown):
    assert len(set(shown.ids)) == len(shown.ids)
    wanted = {link[1:] for link in shown.links if link.startswith("#")} | set(shown.named)
    assert wanted <= set(shown.ids)


def test_the_policy_allows_the_style_that_is_there_and_no_script(folder, shown):
    digest = base64.b64encode(hashlib.sha256(shown.style.encode()).digest()).decode()
    policy = re.search(r'Security-Policy" content="([^"]*)"', page(gather(folder)))[1]
    assert f"sha256-{digest}" in policy.replace("&#43;", "+").replace("&#39;", "'")
    assert policy.startswith("default-src &#39;none&#39;;")
    assert "script" not in policy


def test_only_the_style_sheet_of_the_package_goes_into_a_page_unescaped():
    text = "".join(file.read_text("utf-8") for file in TEMPLATES.glob("*.html"))
    assert text.count("safe") == text.count("{{ style | safe }}") == 1
    assert "autoescape" not in text


def luminance(colour):
    """Relative luminance of a colour (WCAG 2.2)."""
    full = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(full[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(share * p for share, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", range(3), ids=["light", "dark", "print"])
def test_text_and_lines_stand_out_from_what_they_stand_on(theme):
    blocks = re.findall(r":root \{(.*?)\}", (TEMPLATES / "style.css").read_text("utf-8"), re.S)
    own = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", block)) for block in blocks]
    assert len(own) == 3
    colours = own[0] | own[theme]
    for ground in ("paper", "card", "tint"):
        for text in ("ink", "soft", "accent"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for text, ground in (
        ("good", "good-tint"),
        ("bad", "bad-tint"),
        ("ink", "new"),
        ("bad", "card"),
    ):
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for line in range(6):
        assert contrast(colours[f"s{line}"], colours["card"]) >= 3, line


def test_what_cannot_be_seen_is_made_visible():
    assert visible("a\0b\x1b[1m") == "a\u2400b\u241b[1m"
    assert visible("\u202eabc\u2069") == "⟨U+202E⟩abc⟨U+2069⟩"
    assert visible("\ud83d x") == "\ufffd x"
    assert visible("line\r\nnext\ttab") == "line\nnext\ttab"
    plain = "\N{HEBREW LETTER ALEF}\u200f \N{GRINNING FACE}\u200d e\u0301"
    assert visible(plain) == plain


def test_thirty_rows_are_shown_wins_losses_and_a_sample(folder, shown):
    assert shown.tags.count("article") == 3 * EACH
    assert "the 10 on which dpo gains most rouge1 over base; the 10 on which it loses" in shown.text


def test_the_first_row_shown_is_the_one_that_gained_most_and_losses_begin_with_the_largest(folder):
    run = gather(folder)
    record = run.records[-1]
    found = examples(record, tables(record, run.reader)[0], run.reader, seed=7)
    assert [each.row for each in found.chosen[:EACH]] == list(range(EACH))  # gains 20, 19, …
    assert [each.row for each in found.chosen[EACH : 2 * EACH]] == list(range(39, 29, -1))
    assert [answer.models for answer in found.chosen[0].answers] == [["base"], ["sft"], ["dpo"]]


def test_the_loss_of_pairs_is_not_called_a_cross_entropy(folder):
    run = gather(folder)
    lines = {each.name: run.reader.lines(each.folder / "history.jsonl") for each in run.records[:2]}
    assert next(chart.y_label for chart in curves(lines["sft"])) == "nats per token"
    assert next(chart.y_label for chart in curves(lines["dpo"], 0.69)) == "loss per pair"
    both = overlaid({"a": lines["dpo"], "b": lines["dpo"]})
    assert (both[0].y_label, len(both[0].lines)) == ("loss per pair", 2)


def test_rows_are_chosen_the_same_way_every_time():
    gains = {row: float(row % 7 - 3) for row in range(100)}
    first = choose(list(range(100)), gains, seed=1)
    assert first == choose(list(range(100)), gains, seed=1)
    assert first != choose(list(range(100)), gains, seed=2)
    assert list(first.values()) == ["win"] * 10 + ["loss"] * 10 + ["sample"] * 10
    assert [row for row, group in first.items() if group == "win"] == list(range(6, 70, 7))
    assert min(gains.values()) == {gains[row] for row in first if first[row] == "loss"}.pop()


def test_a_row_without_gain_is_no_win_and_few_rows_are_all_shown():
    assert set(choose([1, 2, 3], {1: 0.0, 2: 0.0, 3: 0.0}, seed=1).values()) == {"sample"}
    assert sorted(choose([1, 2, 3], {1: 1.0, 2: -1.0}, seed=1)) == [1, 2, 3]
    assert len(choose(list(range(50)), {}, seed=1)) == 3 * EACH


def test_a_failed_query_shows_its_error_and_a_result_how_many_rows_there_are(shown):
    assert "12 rows, the first 2 shown" in shown.text
    assert "NULL" in shown.text
    assert "wrong" in shown.text


def test_a_run_of_training_alone_has_its_page(tmp_path):
    shown = Page(page(gather(report_run.make(tmp_path / "run", stages=("sft",)))))
    assert "none has scored a model yet" in shown.text
    assert "Loss" in shown.text
    assert "scores" not in shown.ids


def test_a_failed_run_tells_what_stopped_it_and_what_was_not_reached(tmp_path):
    folder = report_run.make(
        tmp_path / "run", stages=("sft",), ending="failed", error="dpo stopped: <b>out of memory"
    )
    (folder / f"dpo-{report_run.key_of('dpo')[:8]}.part").mkdir()
    run = gather(folder)
    assert [step.state for step in run.steps] == ["kept", "failed", "not reached", "not reached"]
    assert "dpo stopped: <b>out of memory" in Page(page(run)).text


def test_a_run_whose_journal_is_lost_is_told_from_its_records(folder):
    (folder / "run.json").write_text("{")
    run = gather(folder)
    assert sorted(step.name for step in run.steps) == ["dpo", "evaluate", "merge", "sft"]
    assert {step.state for step in run.steps} == {"done"}
    assert Page(page(run)).tags.count("article") == 3 * EACH


def test_a_merge_on_a_plain_base_has_its_one_way_in_the_page(folder):
    file = next(folder.glob("merge-*/record.json"))
    record = json.loads(file.read_text())
    gaps = {"merged_max_logit": 1.5e-5, "merged_mean_logit": 1e-6, "merged_mean_kl": 2e-12}
    file.write_text(json.dumps(record | {"facts": gaps}))
    text = page(gather(folder))
    assert '<th scope="row">merged</th>' in text
    assert "merge onto" not in text


def test_a_short_prompt_is_read_without_a_click_and_a_long_one_is_folded(folder, shown):
    opened = "<details open><summary>the prompt"
    assert 0 < page(gather(folder)).count(opened) < shown.tags.count("article")
    for file in folder.glob("evaluate-*/predictions-*.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        report_run.write_lines(file, [line | {"prompt": "long " * 99} for line in lines])
    assert opened not in page(gather(folder))


def test_a_damaged_file_is_left_out_and_named(folder):
    next(folder.glob("dpo-*/history.jsonl")).write_text('{"step": 1,')
    record = next(folder.glob("dpo-*/record.json"))
    data = json.loads(record.read_text())
    data["files"]["history.jsonl"] = len('{"step": 1,')
    record.write_text(json.dumps(data))
    assert "history.jsonl could not be read and is left out" in Page(page(gather(folder))).text


def test_versions_that_changed_within_a_run_are_named(shown):
    assert (
        "trl was not the same for all stages: 1.15.9 for sft, merge, evaluate; 1.16.0 for dpo"
        in (shown.text)
    )


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FinetuneError, match="holds no finished stage"):
        gather(tmp_path)


def test_the_page_is_written_whole_and_the_same_each_time(folder):
    first = report(folder).read_bytes()
    assert report(folder).read_bytes() == first
    assert first.startswith(b"<!doctype html>")
    assert not list(folder.glob(".report*"))


def test_a_report_that_fails_does_not_break_the_run(folder, monkeypatch, capsys):
    monkeypatch.setattr("finetune.report.run_page.page", lambda run: 1 / 0)
    recipe = Recipe(name="x", base=Base(), stages=(), output_dir=str(folder))
    with leaving_report(recipe):
        pass
    assert "warning: the report was not written (ZeroDivisionError" in capsys.readouterr().err


def test_a_run_that_fails_leaves_what_there_is_and_one_that_never_began_nothing(folder, capsys):
    recipe = Recipe(name="x", base=Base(), stages=(), output_dir=str(folder))
    with pytest.raises(ZeroDivisionError), leaving_report(recipe):
        1 / 0  # noqa: B018
    assert not (folder / "report.html").exists()
    with pytest.raises(ZeroDivisionError), leaving_report(recipe):
        (folder / "run.json").write_text(
            (folder / "run.json").read_text().replace("done", "failed")
        )
        1 / 0  # noqa: B018
    assert "what there is so far: " in capsys.readouterr().err
    assert "failed" in Page((folder / "report.html").read_text("utf-8")).text
