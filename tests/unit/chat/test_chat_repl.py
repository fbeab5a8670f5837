"""A conversation at a terminal, and a question from a pipe."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import prompt_toolkit.application
import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from gpubox import chat
from gpubox.chat.repl import Conversation, prompt
from gpubox.errors import AuthFailed

from .engine import DONE, Engine, Script, event

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path


def typed(*lines: str | type[BaseException]) -> Callable[[], str]:
    """A person who types these lines and then presses Ctrl-D."""
    rest = iter(lines)

    def read() -> str:
        line = next(rest, EOFError)
        if isinstance(line, str):
            return line
        raise line

    return read


def talk(engine: Engine, *lines: str | type[BaseException], system: str | None = None) -> str:
    said: list[str] = []
    chat.repl(engine.url, "small", say=said.append, read=typed(*lines), system=system)
    return "".join(said)


def asked(engine: Engine) -> list[list[str]]:
    """For each request, what it held: the first letter of each role and the text."""
    return [[f"{m['role'][0]}:{m['content']}" for m in body["messages"]] for _, _, body in engine.requests]


def test_turns_are_remembered_until_new(engine: Engine) -> None:
    engine.script = Script(chunks=[event("an"), event("swer"), DONE])
    shown = talk(engine, "one", "  ", "two", "/new", "three", system="short")
    assert asked(engine) == [["s:short", "u:one"], ["s:short", "u:one", "a:answer", "u:two"], ["s:short", "u:three"]]
    assert shown.count("answer\n") == 3


def test_commands(engine: Engine) -> None:
    engine.script = Script(chunks=[event("ok"), DONE])
    shown = talk(
        engine, "/help", "/sytem x", "/zzz", "a", "/system be brief", "b", "/system", "/etc/fstab?", "/exit", "never"
    )
    assert asked(engine) == [["u:a"], ["s:be brief", "u:b"], ["u:/etc/fstab?"]]
    assert "did you mean `/system`?" in shown
    assert "there is no `/zzz`; /help" in shown
    assert "/new" in shown


def test_an_error_is_shown_and_the_question_forgotten(engine: Engine) -> None:
    engine.script = Script(status=401, chunks=[b'{"error": "Unauthorized"}'])

    def read() -> Iterator[str]:
        yield "one"
        engine.script = Script(chunks=[event("ok"), DONE])
        yield "two"

    lines = read()
    said: list[str] = []

    def next_line() -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    chat.repl(engine.url, "small", say=said.append, read=next_line)
    assert "error: the engine did not accept the API key" in "".join(said)
    assert "hint: " in "".join(said)
    assert asked(engine)[-1] == ["u:two"]


def test_ctrl_c_stops_an_answer_and_keeps_what_came() -> None:
    closed: list[bool] = []

    def answer(messages: list[dict[str, str]]) -> Generator[str, None, None]:
        try:
            yield "so far"
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    said: list[str] = []
    conversation = Conversation(answer, None)
    conversation.ask("one", said.append)
    assert "".join(said) == "so far\n(stopped)"
    assert conversation.turns[-1] == {"role": "assistant", "content": "so far"}
    assert closed == [True]


def test_ctrl_c_while_showing_closes_the_stream(engine: Engine) -> None:
    engine.script = Script(chunks=[event("piece")], end="pour")

    def say(text: str) -> None:
        if text == "piece":
            raise KeyboardInterrupt

    chat.repl(engine.url, "small", say=say, read=typed("one"))
    assert engine.gone.wait(30), "the engine saw that nobody listens any more"


def test_ctrl_c_at_the_prompt_stays(engine: Engine) -> None:
    engine.script = Script(chunks=[event("ok"), DONE])
    assert "Ctrl-D" in talk(engine, KeyboardInterrupt, "one")
    assert asked(engine) == [["u:one"]]


def test_a_pipe_is_one_question(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.script = Script(chunks=[event("ok"), DONE])
    monkeypatch.setattr("sys.stdin", io.StringIO("first line\nsecond line\n"))
    said: list[str] = []
    chat.repl(engine.url, "small", say=said.append)
    assert asked(engine) == [["u:first line\nsecond line"]]
    assert "".join(said) == "ok\n"


def test_a_failing_pipe_raises(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.script = Script(status=401, chunks=[b"{}"])
    monkeypatch.setattr("sys.stdin", io.StringIO("question"))
    with pytest.raises(AuthFailed):
        chat.repl(engine.url, "small", say=lambda _: None)


def test_the_prompt_keeps_a_private_history(tmp_path: Path) -> None:
    history = tmp_path / "chat_history"
    with create_pipe_input() as keys, prompt_toolkit.application.create_app_session(input=keys, output=DummyOutput()):
        read = prompt(history)
        keys.send_text("你好\r")
        assert read() == "你好"
        keys.send_text("\x1b[A\r")  # arrow up
        assert read() == "你好"
        keys.send_text("\x04")
        with pytest.raises(EOFError):
            read()
    assert "+你好" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600
