"""A conversation at a terminal: several turns, a history file, Ctrl-C stops an answer, Ctrl-D leaves."""

from __future__ import annotations

import re
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from gpubox import paths
from gpubox.chat.client import ask
from gpubox.errors import GpuboxError
from gpubox.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

COMMANDS = {
    "/new": "forget what was said and start anew",
    "/system": "TEXT: give the model a role, and start anew",
    "/help": "this list",
    "/exit": "leave (so does Ctrl-D)",
}


class Conversation:
    """What was said so far, and how the next question is answered."""

    def __init__(
        self, answer: Callable[[list[dict[str, str]]], Generator[str, None, None]], system: str | None
    ) -> None:
        self._answer = answer
        self.system = system
        self.turns: list[dict[str, str]] = []

    @property
    def messages(self) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.turns]

    def ask(self, question: str, say: Callable[[str], None]) -> None:
        """Ask, and keep the answer as part of the conversation; Ctrl-C stops it and keeps what came.

        Raises what `gpubox.chat.ask` raises; the question is then forgotten.
        """
        said: list[str] = []
        asked = {"role": "user", "content": question}
        try:
            with closing(self._answer([*self.messages, asked])) as pieces:
                for piece in pieces:
                    said.append(piece)
                    say(piece)
        except KeyboardInterrupt:
            say("\n(stopped)")
        if said:
            self.turns += [asked, {"role": "assistant", "content": "".join(said)}]


def repl(
    base_url: str,
    model: str,
    *,
    say: Callable[[str], None],
    read: Callable[[], str] | None = None,
    system: str | None = None,
    api_key: str | None = None,
    temperature: float = 0,
    max_tokens: int | None = None,
    think: Callable[[str], None] | None = None,
) -> None:
    """Ask and answer until the person leaves; without a terminal, all of stdin is one question.

    `say` gets pieces of text to show as they are, `read` returns the next line and raises `EOFError` at the end.
    Raises what `gpubox.chat.ask` raises when stdin is no terminal; at a terminal errors are shown and the talk goes on.
    """

    def answer(messages: list[dict[str, str]]) -> Generator[str, None, None]:
        return ask(
            base_url, model, messages, api_key=api_key, temperature=temperature, max_tokens=max_tokens, think=think
        )

    conversation = Conversation(answer, system)
    if read is None and not sys.stdin.isatty():
        conversation.ask(sys.stdin.read().strip(), say)
        say("\n")
        return
    read = read or prompt(paths.data_dir() / "chat_history")
    say(f"{model}: type a question, /help for what else there is\n")
    while (line := _next(read, say)) is not None:
        if re.fullmatch(r"/\w*", line.split(maxsplit=1)[0]):
            if not _command(conversation, line, say):
                return
            continue
        try:
            conversation.ask(line, say)
        except GpuboxError as error:
            say(f"error: {error.message}")
            if error.hint:
                say(f"\nhint: {error.hint}")
        say("\n")


def prompt(history: Path) -> Callable[[], str]:
    """Reads lines at the terminal, with editing and with what was typed in earlier conversations."""
    import prompt_toolkit
    from prompt_toolkit.history import FileHistory

    history.touch(mode=0o600)
    session: prompt_toolkit.PromptSession[str] = prompt_toolkit.PromptSession(history=FileHistory(str(history)))
    return lambda: session.prompt("> ")


def _next(read: Callable[[], str], say: Callable[[str], None]) -> str | None:
    """The next line with something in it; None when the person leaves."""
    while True:
        try:
            if line := read().strip():
                return line
        except EOFError:
            return None
        except KeyboardInterrupt:
            say("(Ctrl-D or /exit leaves)\n")


def _command(conversation: Conversation, line: str, say: Callable[[str], None]) -> bool:
    """Do what a line with a slash says; False when it says to leave."""
    word, _, rest = line.partition(" ")
    if word in ("/exit", "/quit"):
        return False
    if word == "/new":
        conversation.turns.clear()
        say("(a new conversation)\n")
    elif word == "/system":
        conversation.system = rest.strip() or None
        conversation.turns.clear()
        say("(a new conversation, with that role)\n" if rest.strip() else "(a new conversation, without a role)\n")
    elif word == "/help":
        say("".join(f"{name:8} {what}\n" for name, what in COMMANDS.items()))
    else:
        near = did_you_mean(word, COMMANDS)
        say(f"there is no `{word}`" + (f"; did you mean `{near}`?\n" if near else "; /help lists what there is\n"))
    return True
