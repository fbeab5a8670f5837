"""The chat API of an engine (vLLM, KTransformers, Ollama: `/v1/chat/completions`), streamed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gpubox.chat import sse
from gpubox.chat.refusals import cut, refusal, unreachable
from gpubox.errors import Failed, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    import httpx

# A cold 671B model with experts on the CPU reads a long prompt for minutes before its first token.
SILENCE_S = 600.0
_CONNECT_S = 10.0
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def ask(
    base_url: str,
    model: str,
    messages: Sequence[Mapping[str, str]],
    *,
    api_key: str | None = None,
    temperature: float = 0,
    max_tokens: int | None = None,
    think: Callable[[str], None] | None = None,
    silence: float = SILENCE_S,
) -> Generator[str, None, None]:
    """The answer to `messages`, piece by piece; `base_url` ends in `/v1`. Closing the iterator stops the engine's work.

    `think` hears a reasoning model's thoughts, where the engine sends them apart, and an empty line when they end.
    Raises `Unreachable` when nothing answers, `LinkLost` when the answer was cut or nothing came for `silence` seconds,
    `AuthFailed` for a wrong key, `UsageError` for an unknown model or a request the engine refuses, `Failed` when the
    engine itself fails.
    """
    request = _request(model, messages, temperature, max_tokens)
    thinking = False
    for event in _events(base_url, request, api_key, silence):
        for thought in _pieces(event, "reasoning", "reasoning_content"):
            thinking = True
            if think is not None:
                think(thought)
        for piece in _pieces(event, "content"):
            if thinking and think is not None:
                think("\n\n")
            thinking = False
            yield piece


def answer(
    base_url: str,
    model: str,
    messages: Sequence[Mapping[str, str]],
    *,
    api_key: str | None = None,
    temperature: float = 0,
    max_tokens: int | None = None,
    silence: float = SILENCE_S,
) -> dict[str, Any]:
    """The whole answer: `{"model","question","answer","usage","seconds","first_token_seconds"}`.

    `usage` is the engine's own count of tokens, None from one that does not count. Raises what `ask` raises.
    """
    request = _request(model, messages, temperature, max_tokens)
    pieces: list[str] = []
    usage: dict[str, Any] | None = None
    begun = time.monotonic()
    first: float | None = None
    for event in _events(base_url, request, api_key, silence):
        usage = event.get("usage") or usage
        for piece in _pieces(event, "content"):
            first = first if first is not None else time.monotonic() - begun
            pieces.append(piece)
    return {
        "model": model,
        "question": messages[-1]["content"],
        "answer": "".join(pieces),
        "usage": usage,
        "seconds": round(time.monotonic() - begun, 3),
        "first_token_seconds": round(first, 3) if first is not None else None,
    }


def models(base_url: str, *, api_key: str | None = None) -> list[str]:
    """Names of the models that the engine serves, its first one first; never empty. Raises what `ask` raises."""
    import httpx

    with _client(base_url, api_key, _CONNECT_S) as client:
        try:
            response = client.get("models")
        except httpx.HTTPError as error:
            raise unreachable(base_url, error) from error
    if response.status_code != 200:
        raise refusal(base_url, response.status_code, response.content)
    try:
        names = [str(item["id"]) for item in response.json()["data"]]
    except (ValueError, KeyError, TypeError) as error:
        raise Failed("what answers here is no engine", where=f"{base_url}/models") from error
    if not names:
        raise Failed("the engine serves no model", where=base_url, hint="`gpubox status NAME` says what it does")
    return names


def _request(
    model: str, messages: Sequence[Mapping[str, str]], temperature: float, max_tokens: int | None
) -> dict[str, Any]:
    request: dict[str, Any] = {
        "model": model,
        "messages": [dict(message) for message in messages],
        "temperature": temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return request if max_tokens is None else {**request, "max_tokens": max_tokens}


def _events(base_url: str, request: dict[str, Any], api_key: str | None, silence: float) -> Iterator[dict[str, Any]]:
    """The events of one streamed answer, up to `[DONE]`; an answer that ends without it was cut."""
    import httpx

    with _client(base_url, api_key, silence) as client:
        began = False
        try:
            with client.stream("POST", "chat/completions", json=request) as response:
                if response.status_code != 200:
                    raise refusal(base_url, response.status_code, response.read(), model=request["model"])
                began = True
                for data in sse.data(response.iter_bytes()):
                    if data == "[DONE]":
                        return
                    yield _event(base_url, data)
        except httpx.HTTPError as error:
            raise cut(base_url, error, silence) if began else unreachable(base_url, error) from error
    raise cut(base_url, None, silence)


def _event(base_url: str, data: str) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except ValueError as error:
        raise Failed(f"the engine sent something that is no JSON: `{data[:100]}`", where=base_url) from error
    if not isinstance(event, dict) or "error" in event:
        raise refusal(base_url, 500, data.encode())
    return event


def _pieces(event: dict[str, Any], *fields: str) -> Iterator[str]:
    """What the event adds to one of the fields: engines call the same thing by several names."""
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        if piece := next((delta[field] for field in fields if delta.get(field)), None):
            yield piece


def _client(base_url: str, api_key: str | None, silence: float) -> httpx.Client:
    import httpx

    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise UsageError("the API key has characters that no key has", hint="was it copied whole, and nothing else?")
    return httpx.Client(
        base_url=base_url,
        headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
        timeout=httpx.Timeout(silence, connect=_CONNECT_S),
        # A proxy of the person's must not be asked for a port on their own machine.
        trust_env=urlsplit(base_url).hostname not in _LOOPBACK,
    )
