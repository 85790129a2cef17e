"""Asking a judge: what is kept, what is asked again, and what an endpoint may do wrong."""

import json

import pytest
from judges import Scripted, endpoint, slow

from finetune.errors import FinetuneError
from finetune.judging import endpoint as endpoints
from finetune.judging.asking import ask
from finetune.judging.cache import Cache
from finetune.judging.endpoint import Endpoint
from finetune.recipe.judging import Judge

QUESTIONS = ["one", "two", "one", "three"]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(endpoints, "BACKOFF", 0.001)
    monkeypatch.setattr(endpoints, "LONGEST_WAIT", 0.01)


def asked(judge, tmp_path, questions=QUESTIONS):
    return ask(
        judge,
        questions,
        has_form=str.isdigit,
        reminder="A number!",
        cache=Cache(tmp_path / "replies.jsonl", judge.identity),
        title="",
    )


def remote(address, **more):
    return Endpoint(Judge(model="m", endpoint=address, **{"timeout": 5.0, **more}), seed=7)


def content(messages):
    return str(len(messages[-1]["content"]))


def test_the_same_question_is_asked_once_and_replies_stand_in_order(tmp_path):
    judge = Scripted(content)
    found = asked(judge, tmp_path)
    assert found.replies == [["3"], ["3"], ["3"], ["5"]]
    assert (found.asked, found.kept, len(judge.asked)) == (3, 0, 3)


def test_a_second_run_asks_nothing(tmp_path):
    first = asked(Scripted(content), tmp_path)
    judge = Scripted(lambda messages: pytest.fail("asked again"))
    second = asked(judge, tmp_path)
    assert (second.asked, second.kept) == (0, 3) and second.replies == first.replies


def test_another_judge_is_asked_anew(tmp_path):
    asked(Scripted(content), tmp_path)
    judge = Scripted(content)
    judge.identity = {"judge": "another"}
    assert asked(judge, tmp_path).asked == 3


def test_a_malformed_reply_is_asked_for_once_more_and_both_are_kept(tmp_path):
    judge = Scripted(lambda messages: "4" if len(messages) == 3 else "four")
    found = asked(judge, tmp_path, ["one"])
    assert found.replies == [["four", "4"]]
    assert [each["content"] for each in judge.asked[-1]] == ["one", "four", "A number!"]
    never = asked(Scripted(lambda messages: "?"), tmp_path, ["two"])
    assert never.replies == [["?", "?"]] and never.asked == 2
    assert asked(Scripted(pytest.fail), tmp_path, ["one", "two"]).asked == 0


def test_what_was_replied_before_an_interruption_is_kept(tmp_path):
    def breaks(messages):
        if messages[0]["content"] == "three":
            raise KeyboardInterrupt
        return "1"

    with pytest.raises(KeyboardInterrupt):
        asked(Scripted(breaks), tmp_path)
    file = tmp_path / "replies.jsonl"
    file.write_text(file.read_text() + '{"key": "half a li')
    assert asked(Scripted(content), tmp_path).kept == 2
    assert asked(Scripted(content), tmp_path).kept == 3


def test_an_endpoint_is_asked_at_temperature_0_with_the_seed_and_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("A_KEY", "sk-secret")
    with endpoint(lambda number, body: content(body["messages"])) as (address, seen):
        found = asked(remote(address, api_key_env="A_KEY"), tmp_path)
    assert found.replies == [["3"], ["3"], ["3"], ["5"]]
    headers, body = seen[0]
    assert headers["Authorization"] == "Bearer sk-secret"
    assert (body["temperature"], body["seed"], body["model"]) == (0, 7, "m")
    assert "sk-secret" not in (tmp_path / "replies.jsonl").read_text()


def test_a_busy_endpoint_is_asked_again(tmp_path):
    fails = {1: 429, 2: (503, "busy", {"Retry-After": "3600"}), 3: 500}
    with endpoint(lambda number, body: fails.get(number, "8")) as (address, seen):
        found = asked(remote(address, concurrency=1), tmp_path, ["one"])
    assert found.replies == [["8"]] and len(seen) == 4


def test_no_more_than_so_many_requests_are_under_way(tmp_path):
    import threading

    under_way, most, lock = 0, 0, threading.Lock()

    def counted(number, body):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        slow(0.02, "")(number, body)
        with lock:
            under_way -= 1
        return "1"

    with endpoint(counted) as (address, _):
        asked(remote(address, concurrency=3), tmp_path, [str(n) for n in range(12)])
    assert 1 <= most <= 3


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((401, "Incorrect key sk-sec***", {}), "HTTP status 401"),
        ((404, "no model; your key sk-secret", {}), "no model; your key …"),
        ((500, "", {}), "HTTP status 500"),
        ((302, "", {"Location": "http://127.0.0.1:9/"}), "HTTP status 302"),
        ((200, "<html>", {}), "does not reply as /chat/completions does"),
        ((200, json.dumps({"choices": []}), {}), "does not reply as /chat/completions does"),
    ],
)
def test_an_endpoint_that_refuses_stops_the_run_and_no_key_is_told(
    tmp_path, monkeypatch, reply, message
):
    monkeypatch.setenv("A_KEY", "sk-secret")
    with (
        endpoint(lambda number, body: reply) as (address, _),
        pytest.raises(FinetuneError) as error,
    ):
        asked(remote(address, api_key_env="A_KEY"), tmp_path)
    assert message in str(error.value) and "sk-sec" not in str(error.value)


def test_an_endpoint_that_never_replies_stops_the_run(tmp_path):
    silent = endpoint(slow(0.3, "1"))
    with silent as (address, _), pytest.raises(FinetuneError, match="gives no reply"):
        asked(remote(address, timeout=0.02), tmp_path, ["one"])


def test_an_empty_reply_is_a_malformed_one(tmp_path):
    nothing = json.dumps({"choices": [{"message": {"content": None}}]})
    with endpoint(lambda number, body: (200, nothing, {})) as (address, _):
        assert asked(remote(address), tmp_path, ["one"]).replies == [["", ""]]


def test_a_key_that_is_not_set_is_told_before_anything_is_asked(monkeypatch):
    monkeypatch.delenv("A_KEY", raising=False)
    with pytest.raises(FinetuneError, match="no A_KEY"):
        remote("http://localhost:1/v1", api_key_env="A_KEY")


def test_replies_under_way_are_kept_when_the_endpoint_refuses_another(tmp_path):
    def reply(number, body):
        return 401 if body["messages"][0]["content"] == "two" else slow(0.2, "1")(number, body)

    with endpoint(reply) as (address, _):
        judge = remote(address, concurrency=2)
        with pytest.raises(FinetuneError, match="status 401"):
            asked(judge, tmp_path, ["one", "two", "three", "four"])
        assert asked(judge, tmp_path, ["one"]).asked == 0
