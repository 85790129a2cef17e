"""Every fault that is planted is found, and clean rows are silent."""

import random

import pytest

from finetune.audit.findings import judged
from finetune.audit.near import near_duplicates
from finetune.audit.overlap import overlap
from finetune.audit.texts import damaged, duplicates, length_bias
from finetune.audit.words import ngrams
from finetune.data.examples import Pair
from finetune.recipe.types import Audit, Threshold

WORDS = [f"w{number}" for number in range(3000)]


def text(seed, size=40):
    return " ".join(random.Random(seed).choices(WORDS, k=size))


def rows(count, start=0):
    return [(text(start + n), text(10_000 + start + n, 12)) for n in range(count)]


def test_ngrams_are_the_runs_of_words_each_once():
    one = {str(value) for value in ngrams("a b c d", 2)}
    assert len(one) == 3
    assert {str(value) for value in ngrams("B, c!", 2)} < one
    assert len(ngrams("a b a b a b", 2)) == 2
    assert len(ngrams("a b", 5)) == len(ngrams("", 5)) + 1 == 1


def test_copies_are_counted_after_the_first_and_texts_apart_are_not():
    found = duplicates([*rows(50), *rows(3), (text(0), "another answer")], 54)
    assert list(found.rows) == [50, 51, 52]


def test_rows_nearly_the_same_are_found_and_rows_of_one_prompt_are_not():
    clean = rows(300)
    near = [(f"{asked} indeed", answered) for asked, answered in clean[:40]]
    prompts = [(f"{text(7, 400)} {text(500 + n, 5)}", text(900 + n, 9)) for n in range(50)]
    found = near_duplicates([*clean, *prompts, *near], 390)
    assert set(found.rows) <= set(range(350, 390))
    assert len(found.rows) >= 38
    assert near_duplicates(clean, 300).count == 0


def test_an_exact_copy_is_no_near_duplicate():
    assert near_duplicates([*rows(5), *rows(5)], 10).count == 0


def test_overlap_finds_what_training_has_seen_whole_and_in_part():
    evaluation = [text(n) for n in range(30)]
    assert overlap(evaluation, [text(100 + n) for n in range(200)]).count == 0
    halves = " ".join(evaluation[7].split()[:34]) + " " + text(999, 8)
    found = overlap(evaluation, [*(text(100 + n) for n in range(200)), evaluation[3], halves])
    assert list(found.rows) == [3, 7]
    assert found.more.startswith("1 of them")


def test_a_short_question_counts_only_word_by_word():
    schema = text(1, 60)
    training = [f"{schema} what are the names of all {word}" for word in WORDS[:5]]
    training += [f"{schema} {text(n, 9)}" for n in range(50)]
    assert overlap([f"{schema} what are the names of all {WORDS[9]}"], training).count == 0
    assert overlap([training[2]], training).count == 1


def test_wording_that_all_prompts_share_is_no_overlap():
    schema = text(1, 300)
    evaluation = [f"{schema} {text(2000 + n, 14)}" for n in range(20)]
    training = [f"{schema} {text(4000 + n, 14)}" for n in range(100)]
    assert overlap(evaluation, training).count == 0
    assert list(overlap(evaluation, [*training, evaluation[5]]).rows) == [5]


@pytest.mark.parametrize(
    "broken",
    ["it\u00e2\u20ac\u2122s", "caf\u00c3\u00a9", "a \ufffd b", "nul \x00", "\x1b[2J", "bell\x07"],
)
def test_text_of_a_wrong_encoding_is_found(broken):
    assert list(damaged([("fine", "fine"), ("ask", broken)], 2).rows) == [1]


@pytest.mark.parametrize(
    "whole",
    [
        "it\u2019s",
        "caf\u00e9 S\u00c3O",
        "\u00c2ge d\u2019or",
        "tab\tand\r\nline",
        "\U0001f600 \u0645\u0631\u062d\u0628\u0627",
    ],
)
def test_text_of_any_language_is_whole(whole):
    assert damaged([(whole, whole)], 1).count == 0


def pairs(longer, shorter):
    def message(content):
        return [{"role": "assistant", "content": content}]

    return [
        Pair([], message("long answer"), message("short"))
        if n < longer
        else Pair([], message("short"), message("long answer"))
        for n in range(longer + shorter)
    ]


@pytest.mark.parametrize(("longer", "shorter", "share"), [(9, 1, 0.9), (1, 9, 0.9), (5, 5, 0.5)])
def test_length_bias_is_the_share_of_the_more_frequent_side(longer, shorter, share):
    found = length_bias(pairs(longer, shorter))
    assert (found.count, found.of, found.value) == (max(longer, shorter), longer + shorter, share)


def test_a_threshold_of_the_recipe_decides_and_what_it_leaves_out_stays():
    found = duplicates([*rows(9), *rows(1)], 10)

    def verdict(**limits):
        audit = Audit(duplicates=Threshold(**limits))
        return judged([found], audit, str)[0].verdict

    assert judged([found], Audit(), str)[0].verdict == "warn"
    assert verdict(warn=0.1) == "ok"
    assert verdict(refuse=0.05) == "refuse"
    assert verdict(refuse=0.5) == "warn"


@pytest.fixture
def audited(tmp_path):
    """The findings of a recipe over one file of rows, by check."""
    import json

    from finetune.audit.look import audit
    from finetune.recipe import load

    def look(lines, *changes, evaluation=(), **block):
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
        (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in evaluation))
        stages = [{"sft": {"data": str(tmp_path / "rows.jsonl"), "lora": {}}}]
        if evaluation:
            data = {"path": str(tmp_path / "test.jsonl"), "columns": {}}
            tasks = [{"task": "loss", "name": "held", "data": data}]
            stages.append({"evaluate": {"tasks": tasks}})
        text = {"base": {"model": "tiny-mistral"}, "stages": stages, **block}
        (tmp_path / "r.yaml").write_text(json.dumps(text))
        (found,) = audit(load(tmp_path / "r.yaml", changes))
        return {each.check: each for each in found.findings}, found

    return look


def answers(count):
    return [
        {"prompt": asked, "completion": answered}
        for asked, answered in ((text(n, 12), text(70 + n, 8)) for n in range(count))
    ]


@pytest.mark.heavy
def test_clean_rows_are_silent(audited):
    found, whole = audited(answers(30))
    assert {each.verdict for each in found.values()} == {"ok"}
    assert len(whole.lengths) == whole.rows == 30


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("check", "rows", "changes", "verdict", "place"),
    [
        ("cut_tokens", [{"prompt": "a", "completion": text(1, 60)}], (), "refuse", "line 31"),
        ("nothing_learnt", [], ("sft.train.max_length=4",), "refuse", "line 1"),
        ("lookalikes", [{"prompt": "a </s> b", "completion": "c"}], (), "warn", "line 31"),
        ("duplicates", answers(9), (), "warn", "line 31"),
        ("damaged_text", [{"prompt": "itâ€™s", "completion": "c"}], (), "warn", "line 31"),
        ("shortened", [{"prompt": text(5, 90), "completion": "c"}] * 9, (), "warn", "line 31"),
    ],
)
def test_a_planted_fault_is_found_at_its_line(audited, check, rows, changes, verdict, place):
    changes = changes or ("sft.train.max_length=128",)
    finding = audited([*answers(30), *rows], *changes)[0][check]
    assert finding.verdict == verdict, finding
    assert finding.places[0].endswith(place)


@pytest.mark.heavy
def test_a_template_that_ends_no_answer_is_refused(audited, monkeypatch):
    from finetune.audit import look

    real = look.load_tokenizer

    def endless(base):
        tokenizer, notes = real(base)
        tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
        return tokenizer, notes

    monkeypatch.setattr(look, "load_tokenizer", endless)
    assert audited(answers(5))[0]["unstopped"].verdict == "refuse"


@pytest.mark.heavy
def test_rows_that_begin_with_a_start_token_of_their_own_are_found(audited, tmp_path, monkeypatch):
    from finetune.data import encoded

    monkeypatch.setattr(encoded, "BATCH_TOKENS", 100)  # several batches in the file
    template = tmp_path / "bare.jinja"
    template.write_text(
        "{{ bos_token }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
    )
    rows = [*answers(20), {"prompt": "<s>Who?", "completion": "I."}, *answers(3)]
    base = {"model": "tiny-mistral", "chat_template": str(template)}
    finding = audited(rows, base=base)[0]["double_bos"]
    assert (finding.count, finding.places[0].endswith("line 21")) == (1, True)


@pytest.mark.heavy
def test_held_out_rows_that_are_trained_on_are_found(audited):
    rows = [{"prompt": text(n, 30), "completion": text(n + 50, 5)} for n in range(40)]
    other = [{"prompt": text(900 + n, 30), "completion": "x"} for n in range(4)]
    found = audited(rows, evaluation=[*other, rows[7]])[0]["overlap"]
    assert (found.count, found.verdict) == (1, "warn")
    assert found.places[0].endswith("test.jsonl line 5")


@pytest.mark.heavy
def test_a_run_is_refused_before_its_first_stage_and_told_how_to_go_on(tmp_path, capsys):
    import json

    from finetune import cli

    rows = [*answers(20), {"prompt": "a", "completion": text(1, 600)}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sft = {"data": str(tmp_path / "rows.jsonl"), "lora": {}, "train": {"max_length": 64}}
    recipe = {"base": {"model": "tiny-mistral"}, "stages": [{"sft": sft}]}
    (tmp_path / "r.yaml").write_text(json.dumps({**recipe, "output_dir": str(tmp_path / "run")}))
    with pytest.raises(SystemExit) as end:
        cli.main(["run", str(tmp_path / "r.yaml")])
    told = capsys.readouterr().err
    assert end.value.code == 1
    assert "learnt tokens cut off the end" in told
    assert "audit.cut_tokens.refuse=1" in told
    assert not list((tmp_path / "run").glob("sft-*"))
