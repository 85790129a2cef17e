"""What rows mean: every layout is told from its columns and values, said, and read exactly."""

import json

import pytest

from finetune.data.examples import Conversation, Pair, Prompt, Text, Unpaired
from finetune.errors import DataError
from finetune.recipe.types import Data
from finetune.tasks.examples import conversations, pairs, prompts, texts, unpaired

READ = {Conversation: conversations, Pair: pairs, Prompt: prompts, Text: texts, Unpaired: unpaired}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text):
    return {"role": "system", "content": text}


def rows(tmp_path, kind, row, **data):
    """The examples of a file of one row, or of a list of them."""
    path = tmp_path / "rows.jsonl"
    given = row if isinstance(row, list) else [row]
    path.write_text("".join(json.dumps(each) + "\n" for each in given))
    return READ[kind](Data(path=str(path), **data))


ASKED, TOLD = [user("Which lamp?")], [assistant("The red one.")]
OTHER = [assistant("No idea.")]
LONG = [user("Hi"), assistant("Hello."), user("Which lamp?")]
TALK = Conversation([*ASKED, *TOLD])
BOTH = Pair(ASKED, TOLD, OTHER)
TURNS = [{"from": "human", "value": "Which lamp?"}, {"from": "gpt", "value": "The red one."}]

# name -> (what a recipe calls the layout, a row, what it means)
LAYOUTS = {
    "text": ("text", {"text": " a\ttext\n"}, Text(" a\ttext\n")),
    "prompt and completion": (
        "prompt_completion",
        {"prompt": "Which lamp?", "completion": "The red one."},
        TALK,
    ),
    "messages as prompt and completion": (
        "prompt_completion",
        {"prompt": LONG, "completion": TOLD},
        Conversation([*LONG, *TOLD]),
    ),
    "question and answer": (
        "prompt_completion",
        {"question": "Which lamp?", "answer": "The red one."},
        TALK,
    ),
    "OpenOrca": (
        "prompt_completion",
        {"id": "x", "system_prompt": "Short.", "question": "Which lamp?", "response": "Red."},
        Conversation([system("Short."), *ASKED, assistant("Red.")]),
    ),
    "no system after all": (
        "prompt_completion",
        {"system_prompt": "", "question": "Which lamp?", "response": "The red one."},
        TALK,
    ),
    "Dolly": (
        "prompt_completion",
        {"instruction": "Which lamp?", "context": "A red lamp.", "response": "Red."},
        Conversation([user("A red lamp.\n\nWhich lamp?"), assistant("Red.")]),
    ),
    "messages": ("messages", {"messages": [*LONG, *TOLD]}, Conversation([*LONG, *TOLD])),
    "messages as JSON text": ("messages", {"messages": json.dumps([*ASKED, *TOLD])}, TALK),
    "messages in parts": (
        "messages",
        {"messages": [{**ASKED[0], "content": [{"type": "text", "text": "Which lamp?"}]}, *TOLD]},
        TALK,
    ),
    "alpaca": (
        "alpaca",
        {"instruction": "Translate.", "input": "lampe", "output": "lamp", "text": "Below is …"},
        Conversation([user("Translate.\n\nlampe"), assistant("lamp")]),
    ),
    "alpaca without input": (
        "alpaca",
        {"instruction": "Which lamp?", "input": "", "output": "The red one."},
        TALK,
    ),
    "alpaca with system and history": (
        "alpaca",
        {"system": "S", "history": [["Hi", "Hello."]], "instruction": "Which lamp?", "input": None,
         "output": "The red one."},
        Conversation([system("S"), *LONG, *TOLD]),
    ),
    "sharegpt": ("sharegpt", {"id": "1", "conversations": TURNS}, TALK),
    "sharegpt with system and tools": (
        "sharegpt",
        {"conversations": [
            *TURNS,
            {"from": "human", "value": "Price?"},
            {"from": "function_call", "value": '{"name": "price", "arguments": {"of": "lamp"}}'},
            {"from": "observation", "value": "12.50"},
            {"from": "gpt", "value": "12.50"}],
         "system": "S", "tools": '[{"name": "price"}]'},
        Conversation(
            [system("S"), *ASKED, *TOLD, user("Price?"),
             assistant("", tool_calls=[{"type": "function", "function":
                                        {"name": "price", "arguments": {"of": "lamp"}}}]),
             {"role": "tool", "content": "12.50"}, assistant("12.50")],
            [{"name": "price"}]),
    ),
    "preference": (
        "preference",
        {"prompt": "Which lamp?", "chosen": "The red one.", "rejected": "No idea."},
        BOTH,
    ),
    "preference without prompt": (
        "preference",
        {"chosen": "Which lamp? The red one.", "rejected": "Which lamp? No idea."},
        BOTH,
    ),
    "conversational preference": (
        "preference",
        {"prompt": LONG, "chosen": TOLD, "rejected": OTHER},
        Pair(LONG, TOLD, OTHER),
    ),
    "conversational preference without prompt": (
        "preference",
        {"chosen": [*LONG, *TOLD], "rejected": [*LONG, *OTHER]},
        Pair(LONG, TOLD, OTHER),
    ),
    "one message each after a conversation": (
        "preference",
        {"conversations": TURNS[:1], "chosen": TURNS[1], "rejected": OTHER[0]},
        BOTH,
    ),
    "hh": (
        "hh",
        {"chosen": "\n\nHuman: Which lamp?\n\nAssistant: The red one.",
         "rejected": "\n\nHuman: Which lamp?\n\nAssistant: No idea."},
        BOTH,
    ),
    "hh with the prompt apart": (
        "hh",
        {"prompt": "\n\nHuman: Which lamp?\n\nAssistant:", "response": "x",
         "chosen": "The red one.", "rejected": "No idea."},
        BOTH,
    ),
    "UltraFeedback": (
        "ultrafeedback",
        {"prompt": "Which lamp?", "prompt_id": "x", "chosen": [*ASKED, *TOLD],
         "rejected": [*ASKED, *OTHER], "messages": [*ASKED, *TOLD], "score_chosen": 8.0},
        BOTH,
    ),
    "Orca": (
        "orca",
        {"system": "", "question": "Which lamp?", "chosen": "The red one.",
         "rejected": "No idea."},
        BOTH,
    ),
    "Orca with system": (
        "orca",
        {"system": "S", "question": "Which lamp?", "chosen": "The red one.",
         "rejected": "No idea."},
        Pair([system("S"), *ASKED], TOLD, OTHER),
    ),
    "persona": (
        "persona",
        {"question": "Yes or no?", "statement": "x", "label_confidence": 0.9,
         "answer_matching_behavior": " Yes", "answer_not_matching_behavior": " No"},
        Pair([user("Yes or no?")], [assistant(" Yes")], [assistant(" No")]),
    ),
    "unpaired": (
        "unpaired",
        {"prompt": "Which lamp?", "completion": "No idea.", "label": False},
        Unpaired(ASKED, OTHER, False),
    ),
    "unpaired as text": (
        "unpaired",
        {"prompt": ASKED, "completion": TOLD, "label": "True"},
        Unpaired(ASKED, TOLD, True),
    ),
    "prompts": ("prompts", {"prompt": "Which lamp?", "level": 3}, Prompt(ASKED)),
    "prompts as messages": ("prompts", {"prompt": LONG}, Prompt(LONG)),
    "samsum": (
        "samsum",
        {"dialogue": "A: Hi", "summary": "A says hi."},
        Conversation([user("Summarize this dialogue:\n\nA: Hi"), assistant("A says hi.")]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_recognised_and_read(name, tmp_path):
    layout, row, wanted = LAYOUTS[name]
    found = rows(tmp_path, type(wanted), row)
    assert list(found) == [wanted]
    assert found.layout == layout
    assert found.said.startswith("reads as ")


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "samsum"])
def test_a_layout_may_be_named(name, tmp_path):
    layout, row, wanted = LAYOUTS[name]
    assert list(rows(tmp_path, type(wanted), row, format=layout)) == [wanted]


def test_every_format_of_a_recipe_is_shown_by_an_example():
    from typing import get_args, get_type_hints

    (names, _) = get_args(get_type_hints(Data)["format"])
    assert set(get_args(names)) == {layout for layout, _, _ in LAYOUTS.values()} - {"samsum"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("preference", "reads as preference pairs, from prompt/chosen/rejected"),
        (
            "conversational preference without prompt",
            "reads as preference pairs, conversational, from chosen/rejected",
        ),
        (
            "UltraFeedback",
            "reads as preference pairs, conversational, from prompt/chosen/rejected; "
            "not read: prompt_id, messages, score_chosen",
        ),
        ("alpaca", "reads as instruction, input and output, from instruction/output/input; "
         "not read: text"),
    ],
)  # fmt: skip
def test_what_is_said(name, said, tmp_path):
    _, row, wanted = LAYOUTS[name]
    assert rows(tmp_path, type(wanted), row).said == said


CALL = {"id": "c1", "type": "function", "function": {"name": "price", "arguments": {"of": "lamp"}}}
TOOL = {"type": "function", "function": {"name": "price", "parameters": {"type": "object"}}}


@pytest.mark.parametrize("arguments", [{"of": "lamp"}, '{"of": "lamp"}'], ids=["object", "text"])
@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL])], ids=["list", "text"])
def test_tool_calls_survive_in_one_form(arguments, tools, tmp_path):
    call = {**CALL, "function": {"name": "price", "arguments": arguments}}
    asked = [
        user("Price?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "name": "price", "content": "12.50"},
        assistant("12.50"),
    ]
    (found,) = rows(tmp_path, Conversation, {"messages": asked, "tools": tools})
    assert found.tools == [TOOL]
    assert found.messages[1] == assistant("", tool_calls=[CALL])
    assert found.messages[2] == asked[2]
    row = {"chosen": asked[:2], "rejected": [asked[0], assistant("12")], "tools": tools}
    (pair,) = rows(tmp_path, Pair, row)
    assert (pair.chosen, pair.tools) == ([assistant("", tool_calls=[CALL])], [TOOL])


def test_nested_values_from_parquet_are_not_padded_with_nulls(tmp_path):
    import pyarrow
    import pyarrow.parquet

    talk = [user("Price?"), assistant("", tool_calls=[CALL]), assistant("12.50")]
    table = pyarrow.Table.from_pylist([{"messages": talk}, {"messages": [*ASKED, *TOLD]}])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    found = conversations(Data(path=str(tmp_path / "a.parquet")))
    assert [each.messages for each in found] == [talk, [*ASKED, *TOLD]]


def test_hh_rows_split_before_their_last_answer(tmp_path):
    """20 rows in the layout of HH-RLHF, against the turns they were written from."""
    transcripts, wanted = [], []
    for number in range(20):
        turns = []
        for at in range(1 + number % 4):
            turns += [user(f"Question {number}.{at}\n\nwith a gap"), assistant(f"Answer {at}: no.")]
        asked = [*turns, user(f"Last: {number}?")]
        told, other = f"Human: nature, {number}\n\nin parts ", f"Assistant {number}"
        named = {"user": "Human", "assistant": "Assistant"}
        before = "".join(f"\n\n{named[turn['role']]}: {turn['content']}" for turn in asked)
        transcripts.append(
            {
                "chosen": f"{before}\n\nAssistant: {told}",
                "rejected": f"{before}\n\nAssistant: {other}",
            }
        )
        wanted.append(Pair(asked, [assistant(told)], [assistant(other)]))
    found = rows(tmp_path, Pair, transcripts)
    assert found.layout == "hh"
    assert list(found) == wanted


CONVERSIONS = [
    ("preference", Conversation, [TALK], "the chosen answer"),
    ("preference", Prompt, [Prompt(ASKED)], "without their answers"),
    ("preference", Unpaired, [Unpaired(ASKED, TOLD, True), Unpaired(ASKED, OTHER, False)], "good"),
    ("messages", Prompt, [Prompt(LONG)], "up to the last answer"),
    ("messages", Text, [Text("Hi\n\nHello.\n\nWhich lamp?\n\nThe red one.")], "without roles"),
    ("unpaired", Prompt, [Prompt(ASKED)], "without their answers"),
]


@pytest.mark.parametrize(("name", "kind", "wanted", "said"), CONVERSIONS)
def test_one_kind_becomes_another_and_that_is_said(name, kind, wanted, said, tmp_path):
    found = rows(tmp_path, kind, LAYOUTS[name][1])
    assert list(found) == wanted
    assert said in found.said


def test_a_pair_taken_apart_and_put_together_is_the_pair(tmp_path):
    good, bad = rows(tmp_path, Unpaired, LAYOUTS["preference"][1])
    row = {"prompt": good.prompt, "chosen": good.completion, "rejected": bad.completion}
    assert list(rows(tmp_path, Pair, row)) == [BOTH]


@pytest.mark.parametrize(
    ("kind", "row", "told"),
    [
        (Conversation, {"text": "a"}, "are plain text .*conversations are wanted"),
        (Pair, LAYOUTS["messages"][1], "are conversations .*preference pairs are wanted"),
        (Conversation, LAYOUTS["unpaired"][1], "are labelled answers"),
        (Conversation, {"a": "x", "b": 3}, r"cannot tell .*a \(text\), b \(number\)"),
        (Conversation, {"question": "a", "answer": "b", "solution": "c"},
         "2 ways: prompt_completion from question/answer or prompt_completion from question/sol"),
        (Conversation, {"prompt": "a", "completion": "b", "messages": [*ASKED, *TOLD]}, "2 ways"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_or_does_not_fit_is_refused_with_a_way_out(kind, row, told, tmp_path):
    with pytest.raises(DataError, match=told) as caught:
        rows(tmp_path, kind, row)
    assert caught.value.remedy


def test_a_name_for_a_column_that_nothing_reads_is_refused(tmp_path):
    row = {"q": "a", "a": "b", "Topic": "math"}
    names = {"prompt": "q", "completion": "a", "topic": "Topic"}
    with pytest.raises(DataError, match="column 'Topic' is named 'topic', which prompt and comp"):
        rows(tmp_path, Conversation, row, columns=names)


def test_what_is_ambiguous_is_settled_by_columns_or_format(tmp_path):
    row = {"question": "a", "answer": "b", "solution": "c"}
    columns = {"prompt": "question", "completion": "solution"}
    (found,) = rows(tmp_path, Conversation, row, columns=columns)
    assert found == Conversation([user("a"), assistant("c")])
    row = {"prompt": "a", "completion": "b", "messages": [*ASKED, *TOLD]}
    assert list(rows(tmp_path, Conversation, row, format="messages")) == [TALK]


def test_the_remedy_for_an_ambiguity_settles_it(tmp_path):
    import re

    import yaml

    row = {"question": "a", "answer": "b", "solution": "c"}
    with pytest.raises(DataError) as caught:
        rows(tmp_path, Conversation, row)
    columns = yaml.safe_load(re.search(r"\{.*\}", caught.value.remedy)[0])
    assert len(rows(tmp_path, Conversation, row, columns=columns)) == 1


BAD = {
    "prompts differ": (
        Pair,
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"},
    ),
    "prompts differ: ": (
        Pair,
        {"chosen": [user("a"), *TOLD], "rejected": [user("b"), *OTHER]},
    ),
    "the same text": (Pair, {"prompt": "a", "chosen": "b", "rejected": "b"}),
    "begin differently": (Pair, {"chosen": "a b", "rejected": "c d"}),
    "does not end with the assistant": (
        Pair,
        {"chosen": [*LONG[:1], user("x")], "rejected": [*LONG[:1], *OTHER]},
    ),
    "no message of the assistant": (Conversation, {"messages": LONG[:1]}),
    "says nothing": (Conversation, {"messages": [*ASKED, assistant(" ")]}),
    "has the role 'narrator'": (
        Conversation,
        {"messages": [{"role": "narrator", "content": "x"}, *TOLD]},
    ),
    "wanted is a text": (Conversation, {"messages": [{"role": "user", "content": 3}, *TOLD]}),
    "wanted is an object": (
        Conversation,
        {
            "messages": [
                *ASKED,
                assistant("", tool_calls=[{"name": "f", "arguments": 3}]),
            ]
        },
    ),
    "'completion' is missing or empty": (Conversation, {"prompt": "a", "completion": "\n"}),
    "half a character": (Conversation, {"prompt": "a\ud83d", "completion": "b"}),
    "wanted is true or false": (
        Unpaired,
        [LAYOUTS["unpaired"][1]] * 9 + [{"prompt": "a", "completion": "b", "label": 2}],
    ),
}


@pytest.mark.parametrize("told", BAD)
def test_a_row_that_cannot_be_used_is_refused_with_its_line(told, tmp_path):
    kind, row = BAD[told]
    with pytest.raises(DataError, match=told) as caught:
        rows(tmp_path, kind, row)
    assert f"line {len(row) if isinstance(row, list) else 1}: " in str(caught.value)


REAL = {
    "dialogsum/train.jsonl": (conversations, 2000, "samsum"),
    "dialogsum/dev.jsonl": (conversations, 500, "samsum"),
    "dialogsum/test.jsonl": (conversations, 250, "samsum"),
    "spider/train.jsonl": (conversations, 1509, "text_to_sql"),
    "spider/dev.jsonl": (conversations, 546, "text_to_sql"),
    "gsm8k/train.jsonl": (conversations, 1500, "prompt_completion"),
    "gsm8k/prefs.jsonl": (pairs, 731, "preference"),
    "anthropic_evals/agreeableness.jsonl": (pairs, 1000, "persona"),
    "anthropic_evals/conscientiousness.jsonl": (pairs, 1000, "persona"),
    "stories260k/tinystories_sample.txt": (texts, 23, "text"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_data_load_by_recognition_alone(name, realdata):
    read, count, layout = REAL[name]
    found = read(Data(path=str(realdata / name)))
    assert (len(found), found.layout, found.refused.count) == (count, layout, 0)
    lines = (realdata / name).read_text().splitlines()
    assert len([line for line in lines if line.strip()]) == count


def test_real_pairs_are_carried_through_exactly(realdata):
    path = realdata / "gsm8k" / "prefs.jsonl"
    raw = [json.loads(line) for line in path.open()]
    for pair, row in zip(pairs(Data(path=str(path))), raw, strict=True):
        for name in ("prompt", "chosen", "rejected"):
            assert [turn["content"] for turn in getattr(pair, name)] == [row[name]]


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ((0, 1, 0, 1, None), "flag"),
        (("0", "1", "", "true"), "truth"),
        ((0, 1, 0, 1, 2, None), "number"),
        (("0", "1", "0", "1", "2", "NA"), "text"),
    ],
)
def test_a_column_is_one_of_flags_only_if_all_its_values_are(tmp_path, values, shape):
    given = [{"frage": "Which?", "prio": value} for value in values]
    with pytest.raises(DataError, match=rf"frage \(text\), prio \({shape}\)"):
        rows(tmp_path, Conversation, given)
