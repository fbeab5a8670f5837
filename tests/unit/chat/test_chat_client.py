"""Asking an engine once: whole answers, cut ones, refusals."""

from __future__ import annotations

import json
import socket

import pytest

from gpubox import chat
from gpubox.chat import sse
from gpubox.errors import AuthFailed, Failed, GpuboxError, LinkLost, Unreachable, UsageError

from .engine import DONE, ROLE, USAGE, Engine, Script, event

QUESTION = [{"role": "user", "content": "你是谁？"}]


def test_an_answer_comes_piece_by_piece(engine: Engine) -> None:
    engine.script = Script(chunks=[ROLE, event("我是"), event("小模型"), event("。"), USAGE, DONE])
    assert list(chat.ask(engine.url, "small", QUESTION, max_tokens=7)) == ["我是", "小模型", "。"]
    path, headers, body = engine.requests[0]
    assert path == "/v1/chat/completions"
    assert "Authorization" not in headers
    assert body["messages"] == QUESTION
    assert (body["model"], body["stream"], body["temperature"], body["max_tokens"]) == ("small", True, 0, 7)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_thoughts_are_told_apart_from_the_answer(engine: Engine, field: str) -> None:
    thoughts = [{"choices": [{"delta": {field: piece, "content": ""}}]} for piece in ("嗯", "……")]
    lines = [f"data: {json.dumps(thought)}\n\n".encode() for thought in thoughts]
    engine.script = Script(chunks=[ROLE, *lines, event("我是"), event("小模型"), USAGE, DONE])
    heard: list[str] = []
    assert list(chat.ask(engine.url, "small", QUESTION, think=heard.append)) == ["我是", "小模型"]
    assert heard == ["嗯", "……", "\n\n"]
    assert list(chat.ask(engine.url, "small", QUESTION)) == ["我是", "小模型"]


def test_pieces_arrive_before_the_answer_is_whole(engine: Engine) -> None:
    engine.script = Script(chunks=[event("first")], end="hang")
    pieces = chat.ask(engine.url, "small", QUESTION)
    assert next(pieces) == "first"
    pieces.close()


def test_leaving_an_answer_closes_the_connection(engine: Engine) -> None:
    engine.script = Script(chunks=[event("first")], end="pour")
    pieces = chat.ask(engine.url, "small", QUESTION)
    next(pieces)
    pieces.close()
    assert engine.gone.wait(30), "the engine saw that nobody listens any more"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64])
def test_chunks_may_be_cut_within_a_character(engine: Engine, size: int) -> None:
    whole = b": a comment\n\n" + event("汉字🚀") + event("é\n\n  x").replace(b"\n\n", b"\r\n\r\n") + DONE
    engine.script = Script(chunks=[whole[i : i + size] for i in range(0, len(whole), size)])
    assert "".join(chat.ask(engine.url, "small", QUESTION)) == "汉字🚀é\n\n  x"


def test_sse_keeps_events_and_leaves_out_half_lines() -> None:
    stream = [b"data: one\nid: 5\n\ndata:two\ndata: lines\n\n\n\nevent: x\n\ndata: thr", b"ee\n\ndata: half"]
    assert list(sse.data(stream)) == ["one", "two\nlines", "three"]


def test_the_whole_answer_with_its_figures(engine: Engine) -> None:
    engine.script = Script(chunks=[ROLE, event("a"), event("b"), USAGE, DONE])
    answer = chat.answer(engine.url, "small", [{"role": "system", "content": "s"}, *QUESTION])
    assert list(answer) == ["model", "question", "answer", "usage", "seconds", "first_token_seconds"]
    assert (answer["model"], answer["question"], answer["answer"]) == ("small", "你是谁？", "ab")
    assert answer["usage"] == {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    assert 0 <= answer["first_token_seconds"] <= answer["seconds"] < 60
    assert engine.requests[0][2]["stream_options"] == {"include_usage": True}


def test_an_engine_that_does_not_count_and_says_nothing(engine: Engine) -> None:
    engine.script = Script(chunks=[ROLE, DONE])
    answer = chat.answer(engine.url, "small", QUESTION)
    assert (answer["answer"], answer["usage"], answer["first_token_seconds"]) == ("", None, None)


@pytest.mark.parametrize("end", ["clean", "cut"])
@pytest.mark.parametrize("chunks", [[], [ROLE], [event("half an"), event(" ans")], [event("x"), DONE[:9]]])
def test_an_answer_without_its_end_was_cut(engine: Engine, end: str, chunks: list[bytes]) -> None:
    engine.script = Script(chunks=chunks, end=end)
    with pytest.raises(LinkLost, match="the answer was cut"):
        list(chat.ask(engine.url, "small", QUESTION))
    with pytest.raises(LinkLost, match="the answer was cut"):
        chat.answer(engine.url, "small", QUESTION)


def test_an_engine_that_falls_silent(engine: Engine) -> None:
    engine.script = Script(chunks=[event("first")], end="hang")
    with pytest.raises(LinkLost, match=r"nothing came for 0\.2 s"):
        list(chat.ask(engine.url, "small", QUESTION, silence=0.2))


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
    with pytest.raises(Unreachable, match="no engine answers") as caught:
        list(chat.ask(url, "small", QUESTION))
    assert not isinstance(caught.value, LinkLost)
    assert "gpubox status" in str(caught.value.hint)
    with pytest.raises(Unreachable, match="no engine answers"):
        chat.models(url)


NO_MODEL = {"error": {"message": "The model `small` does not exist.", "type": "NotFoundError", "code": 404}}
TOO_LONG = {"object": "error", "message": "maximum context length is 256 tokens", "code": 400}


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (401, {"error": "Unauthorized"}, AuthFailed, "API key: Unauthorized"),
        (404, NO_MODEL, UsageError, "serves no model `small`"),
        (404, {"detail": "Not Found"}, Failed, "no chat API"),
        (400, TOO_LONG, UsageError, "maximum context length is 256 tokens"),
        (422, {"detail": [{"loc": ["body"], "msg": "extra"}]}, UsageError, "extra"),
        (500, {"error": {"message": "EngineDeadError"}}, Failed, "EngineDeadError"),
        (503, {"error": {"message": "loading"}}, Unreachable, "not ready"),
    ],
)
def test_refusals_say_what_and_how_to_mend(
    engine: Engine, status: int, body: object, error: type[GpuboxError], said: str
) -> None:
    engine.script = Script(status=status, chunks=[json.dumps(body).encode()])
    with pytest.raises(error, match=said) as caught:
        list(chat.ask(engine.url, "small", QUESTION))
    assert caught.value.where == engine.url
    assert type(caught.value) is error


def test_a_page_of_html_is_not_repeated(engine: Engine) -> None:
    engine.script = Script(status=502, chunks=[b"<html><h1>Bad gateway</h1></html>"])
    with pytest.raises(Unreachable) as caught:
        list(chat.ask(engine.url, "small", QUESTION))
    assert "<" not in caught.value.message


@pytest.mark.parametrize(
    ("line", "said"),
    [(b'data: {"error": {"message": "CUDA out of memory"}}\n\n', "CUDA out of memory"), (b"data: oops\n\n", "no JSON")],
)
def test_an_error_within_the_stream(engine: Engine, line: bytes, said: str) -> None:
    engine.script = Script(chunks=[event("so far"), line, DONE])
    with pytest.raises(Failed, match=said):
        list(chat.ask(engine.url, "small", QUESTION))


def test_the_key_goes_into_the_header_and_into_no_message(engine: Engine) -> None:
    engine.script = Script(status=401, chunks=[b'{"error":"Unauthorized"}'])
    with pytest.raises(AuthFailed) as caught:
        list(chat.ask(engine.url, "small", QUESTION, api_key="sk-very-secret"))
    assert engine.requests[0][1]["Authorization"] == "Bearer sk-very-secret"
    assert "sk-very-secret" not in f"{caught.value.message} {caught.value.hint} {caught.value.where}"
    with pytest.raises(UsageError, match="API key"):
        list(chat.ask(engine.url, "small", QUESTION, api_key="密码"))


def test_a_proxy_is_not_asked_for_this_machine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    engine.script = Script(chunks=[event("direct"), DONE])
    assert list(chat.ask(engine.url, "small", QUESTION)) == ["direct"]


def test_models(engine: Engine) -> None:
    engine.script = Script(chunks=[b'{"object": "list", "data": [{"id": "small"}, {"id": "adapter"}]}'])
    assert chat.models(engine.url, api_key="k") == ["small", "adapter"]
    path, headers, _ = engine.requests[0]
    assert (path, headers["Authorization"]) == ("/v1/models", "Bearer k")


@pytest.mark.parametrize("body", [b'{"data": []}', b"{}", b"hello", b"[]"])
def test_models_of_something_else(engine: Engine, body: bytes) -> None:
    engine.script = Script(chunks=[body])
    with pytest.raises(Failed):
        chat.models(engine.url)
