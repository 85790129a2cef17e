"""Talking to models: which one is meant, what it answers, and what reaches the terminal."""

import json
import re

import pytest
from tiny_chain import ends, settings, write

from finetune.errors import FinetuneError


def test_control_characters_of_a_model_do_not_reach_the_terminal():
    from finetune.talk.screen import harmless

    assert harmless("a\x1b[31mred\x07\x9b2J\r\x08b\u202ec\n\té漢") == "a[31mred2Jbc\n\té漢"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tiny-mistrall", "no such model, run or recipe; did you mean the base 'tiny-mistral'?"),
        (".", "this folder holds no model"),
    ],
)
def test_what_is_no_model_is_told_with_what_is_one(text, message, tmp_path, monkeypatch):
    from finetune.talk.target import find_target

    monkeypatch.chdir(tmp_path)
    with pytest.raises(FinetuneError) as caught:
        find_target(text, None, {})
    assert message in str(caught.value)


def test_a_built_in_base_and_a_hub_id_are_whole_models():
    from finetune.talk.target import find_target

    assert find_target("tiny-mpt", None, {}).ref.base.model == "tiny-mpt"
    found = find_target("owner/model", None, {"dtype": "bfloat16"})
    assert (found.ref.base.model, found.ref.base.dtype) == ("owner/model", "bfloat16")


def test_an_adapter_stands_on_the_base_it_names_or_on_the_one_given(tmp_path):
    from finetune.talk.target import find_target

    config = {"base_model_name_or_path": "owner/base"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    assert find_target(str(tmp_path), None, {}).ref.base.model == "owner/base"
    given = find_target(str(tmp_path), None, {"model": "other/base"}).ref
    assert (given.base.model, given.adapters) == ("other/base", (tmp_path,))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(FinetuneError, match="Give it: --base MODEL"):
        find_target(str(tmp_path), None, {})


def test_options_carry_the_names_of_generation_config_and_its_types(capsys):
    assert ends("generate", "tiny-mistral", "hi", "--max-new-tokens", "0") == 2
    assert "must be 1 or more, got 0" in capsys.readouterr().err
    assert ends("generate", "tiny-mistral", "hi", "--top-k", "many") == 2
    assert "a whole number" in capsys.readouterr().err
    assert ends("generate", "tiny-mistral", "hi", "--pad-token-id", "3") == 2
    assert "unknown: --pad-token-id" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hi", "--file", "x"], "a prompt is given twice"),
        (["hi", "--raw", "--task", "samsum"], "leave --task and --system out"),
        (["hi", "--out", "x"], "--out is for rows"),
        (["--file", "absent.jsonl"], "cannot be read"),
        (["--file", "absent.txt"], "cannot be read"),
        (["hi", "--task", "text_to_sql"], "Give rows with these columns"),
    ],
)
def test_options_that_contradict_each_other_are_refused_at_once(words, message, capsys):
    assert ends("generate", "tiny-mistral", *words) == 1
    assert message in capsys.readouterr().err


@pytest.fixture(scope="module")
def run(random_mistral, tmp_path_factory):
    """A finished chain: its recipe's file, and its folder."""
    folder = tmp_path_factory.mktemp("run")
    file = write(folder, settings(folder, random_mistral, kinds=("sft", "merge")))
    assert ends("run", file) == 0
    return file, folder / "run"


def stage(folder, name):
    (found,) = folder.glob(f"{name}-*")
    return found


@pytest.mark.heavy
def test_every_way_to_name_a_model_finds_the_same_one(run):
    from finetune.talk.target import find_target

    file, folder = run
    merge, sft = stage(folder, "merge"), stage(folder, "sft")
    merged = {
        str(find_target(str(text), None, {}).ref) for text in (file, folder, merge, merge / "model")
    }
    adapted = {
        str(find_target(str(text), name, {}).ref)
        for text, name in ((file, "sft"), (folder, "sft"), (sft, None), (sft / "adapter", None))
    }
    assert len(merged) == len(adapted) == 1
    assert merged != adapted
    with pytest.raises(FinetuneError, match="done are: sft, merge"):
        find_target(str(folder), "dpo", {})


@pytest.mark.heavy
def test_a_streamed_answer_is_the_one_that_evaluation_gets(run, capsys):
    from finetune.data.shorten import render
    from finetune.models.generate import generate
    from finetune.talk.speaker import Speaker
    from finetune.talk.target import find_target

    _, folder = run
    speaker = Speaker(find_target(str(folder), None, {}))
    question = [{"role": "user", "content": "Colour of lamp 3?"}]
    ids = render(speaker.tokenizer, question, answer_follows=True)
    pieces = []
    said = speaker.answer(ids, {"max_new_tokens": 20}, pieces.append)
    how = {"settings": {"max_new_tokens": 20}, "batch_size": 1, "title": "one"}
    (wanted,) = generate(speaker.model, speaker.tokenizer, [ids], **how)
    assert said.text.strip() == wanted.text
    assert "".join(pieces) == said.text
    assert said.ended == ("itself" if wanted.stopped else "full")
    assert ends("generate", str(folder), "Colour of lamp 3?", "--max-new-tokens", "20") == 0
    assert capsys.readouterr().out.strip() == wanted.text


@pytest.mark.heavy
def test_ctrl_c_ends_an_answer_and_keeps_what_was_written(run):
    from finetune.data.shorten import render
    from finetune.talk.speaker import Speaker
    from finetune.talk.target import find_target

    speaker = Speaker(find_target(str(run[1]), None, {}))
    ids = render(speaker.tokenizer, [{"role": "user", "content": "Hello"}], answer_follows=True)
    written = []

    def write(text):
        written.append(text)
        if len("".join(written)) > 5:
            raise KeyboardInterrupt

    said = speaker.answer(ids, {"max_new_tokens": 200, "min_new_tokens": 100}, write)
    assert said.ended == "stopped"
    assert 5 < len(said.text) < 100


@pytest.mark.heavy
def test_a_chat_remembers_forgets_and_ends(run, monkeypatch, capsys):
    lines = iter(["Colour of lamp 3?", "and 4?", "/reset", "/nonsense", "and 5?", "/exit", "never"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    seen = []
    from finetune.talk.history import History

    fit = History.fit

    def watched(self, tokenizer, limit):
        seen.append([turn["content"] for turn in self.turns if turn["role"] == "user"])
        return fit(self, tokenizer, limit)

    monkeypatch.setattr(History, "fit", watched)
    assert ends("chat", str(run[1]), "--max-new-tokens", "4") == 0
    assert seen == [["Colour of lamp 3?"], ["Colour of lamp 3?", "and 4?"], ["and 5?"]]
    said = capsys.readouterr()
    assert "forgotten" in said.err
    assert next(lines) == "never"


@pytest.mark.heavy
def test_a_long_chat_forgets_its_oldest_exchanges_and_says_so():
    from finetune.models.tokenizers import load_tokenizer
    from finetune.recipe.types import Base
    from finetune.talk.history import History

    tokenizer, _ = load_tokenizer(Base(model="tiny-mistral"))
    history = History(system="Be brief.")
    for number in range(8):
        history.ask(f"question {number} about lamps")
        history.answer(f"answer {number} about lamps")
    history.ask("the last question")
    ids, notes = history.fit(tokenizer, 60)
    text = tokenizer.decode(ids)
    assert len(ids) <= 60
    assert "Be brief." in text
    assert "the last question" in text
    assert "question 0" not in text
    assert re.match(r"forgot the oldest \d+ of the exchanges", notes[0])
    history.clear()
    history.ask("word " * 200)
    ids, notes = history.fit(tokenizer, 60)
    assert len(ids) <= 60
    assert notes == ["the question lost its middle to fit"]


@pytest.mark.heavy
def test_rows_of_a_file_are_answered_in_order(run, tmp_path, capsys):
    rows = [{"prompt": f"Colour of lamp {n}?", "id": n} for n in range(3)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "answers.jsonl"
    words = ["generate", str(run[1]), "--file", str(file), "--max-new-tokens", "6"]
    assert ends(*words, "--out", str(out)) == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row.get("id") for row in found] == [0, 1, 2]
    capsys.readouterr()
    assert ends(*words) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == found
    talk = {"messages": [{"role": "user", "content": "Colour of lamp 2?"}]}
    file.write_text(json.dumps(talk) + "\n")
    assert ends(*words) == 0
    assert json.loads(capsys.readouterr().out)["completion"] == found[2]["completion"]


@pytest.mark.heavy
def test_a_task_words_the_prompt(run, tmp_path, monkeypatch):
    from finetune.talk.history import History
    from finetune.tasks import TASKS

    seen = []
    fit = History.fit

    def watched(self, tokenizer, limit):
        seen.append(self.turns[0]["content"])
        return fit(self, tokenizer, limit)

    monkeypatch.setattr(History, "fit", watched)
    dialogue = tmp_path / "dialogue.txt"
    dialogue.write_text("Noor: hi\nIvan: hello\n")
    words = ["generate", str(run[1]), "--task", "samsum", "--max-new-tokens", "2"]
    assert ends(*words, "--file", str(dialogue)) == 0
    assert seen == [TASKS["samsum"].prompt({"dialogue": "Noor: hi\nIvan: hello"})]


@pytest.mark.heavy
def test_an_adapter_for_another_base_is_told(run, tmp_path, capsys):
    from shapes import make_base

    other = make_base("mistral", tmp_path / "other", hidden_size=48)
    adapter = stage(run[1], "sft") / "adapter"
    assert ends("generate", str(adapter), "hi", "--base", str(other)) == 1
    assert "Give the base it was trained on" in capsys.readouterr().err
