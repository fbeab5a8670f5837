"""Short answers: lists as JSON, with a few tries."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from model_fetch.curl import Request, Transfer
from model_fetch.errors import Cut, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LIMIT = 256 * 2**20
# A hub's list of some thousand files takes it seconds.
_FIRST_BYTE_SECONDS = 60.0
_BODY_SECONDS = 120.0
_PAUSES = (1.0, 3.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a hub answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> object:
        """The body; None where it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Get(Protocol):
    """How hubs are asked."""

    def __call__(self, url: str, headers: tuple[str, ...]) -> Answer: ...


def getter(environment: Mapping[str, str] | None, sleep: Callable[[float], None] = time.sleep) -> Get:
    """Asks by way of `environment`'s proxies. Overloaded and broken answers are asked for again, three times in all."""

    def get(url: str, headers: tuple[str, ...]) -> Answer:
        for pause in (*_PAUSES, None):
            try:
                with Transfer(Request(url, headers, environment=environment)) as transfer:
                    reply = transfer.reply(_FIRST_BYTE_SECONDS)
                    answer = Answer(reply.status, reply.headers, transfer.all(_BODY_SECONDS, _LIMIT))
            except (Cut, Unreachable) as error:
                if pause is None or isinstance(error, Unreachable):
                    where = f"`{urlsplit(url).netloc}`"
                    raise Unreachable(f"{where} cannot be asked for its files: {error}") from error
            else:
                if pause is None or (answer.status < 500 and answer.status != 429):
                    return answer
            sleep(pause)
        raise AssertionError  # the last try returns or raises

    return get
