"""`gpubox chat NAME`: a conversation with the engine of a box, through a tunnel."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gpubox import chat, tunnels
from gpubox.places import box_of
from gpubox.status import status

if TYPE_CHECKING:
    from collections.abc import Callable


class Chat:
    """The engine of the box `name` within reach, for as long as the context lasts.

    A tunnel that is open is used; else one is opened and closed with the context.
    """

    def __init__(
        self,
        name: str,
        *,
        model: str | None = None,
        system: str | None = None,
        temperature: float = 0.0,
        max_tokens: int | None = None,
    ) -> None:
        self._name = name
        self._model = model
        self._system = system
        self._options: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens}

    def __enter__(self) -> Chat:
        answer = status(self._name)
        tunnel = tunnels.open_for(self._name, detach=False, say=lambda _: None, answer=answer)
        self._url = tunnels.engine_url(tunnel, answer)
        self._options["api_key"] = _api_key(self._name)
        self._model = self._model or _first(self._name, chat.models(self._url, api_key=self._options["api_key"]))
        return self

    def __exit__(self, *_: object) -> None:
        """The tunnel ends with this process, unless it was there before."""

    def stream(self, question: str, say: Callable[[str], None], think: Callable[[str], None] | None = None) -> None:
        """Ask once; the answer comes piece by piece, and so do a reasoning model's thoughts."""
        for piece in chat.ask(self._url, str(self._model), self._messages(question), think=think, **self._options):
            say(piece)

    def answer(self, question: str) -> dict[str, Any]:
        """Ask once; `{"model","question","answer","usage","seconds","first_token_seconds"}`."""
        return chat.answer(self._url, str(self._model), self._messages(question), **self._options)

    def converse(self, say: Callable[[str], None], think: Callable[[str], None] | None = None) -> None:
        """Ask and answer until the person leaves."""
        chat.repl(self._url, str(self._model), say=say, think=think, system=self._system, **self._options)

    def _messages(self, question: str) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self._system}] if self._system else []
        return [*system, {"role": "user", "content": question}]


def _first(name: str, served: list[str]) -> str:
    """The model that the box file names first; Ollama lists the one first that came last."""
    box = box_of(name)
    wanted = box.served_names if box is not None else ()
    return next((model for short in wanted for model in (short, f"{short}:latest") if model in served), served[0])


def _api_key(name: str) -> str | None:
    """The engine's API key, from the environment variable that the box file names."""
    box = box_of(name)
    section = getattr(box, box.engine) if box is not None and box.engine is not None else None
    variable = getattr(section, "api_key", None)
    return os.environ.get(variable) if variable else None
