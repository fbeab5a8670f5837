"""Ask several accounts the same thing at once: none waits for another, and none spoils the others' answers."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from gpubox import accounts
from gpubox.errors import AuthFailed, GpuboxError, Unreachable
from gpubox.providers import provider

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpubox.providers import Provider

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What the account of one provider answered, or why it did not."""

    provider: str
    value: T | None = None
    error: GpuboxError | None = None

    @property
    def warning(self) -> str | None:
        """One line about what went wrong; None when nothing did."""
        if self.error is None:
            return None
        fix = f"; fix: {self.error.hint}" if self.error.hint else ""
        return f"`{self.provider}` could not be asked: {self.error.message}{fix}"


def ask_each(
    names: Sequence[str], question: Callable[[Provider], T], *, limit: float, what: str = "the answer"
) -> list[Answer[T]]:
    """The answer of each provider, in the order of `names`; one that has none after `limit` seconds is `Unreachable`.

    Only the errors that gpubox foresees are answers; a defect in a provider is raised here.
    """
    heard: queue.SimpleQueue[tuple[str, T | BaseException]] = queue.SimpleQueue()

    def ask(name: str) -> None:
        try:
            heard.put((name, question(provider(name))))
        except BaseException as error:  # noqa: BLE001 - handed over to the caller's thread, which raises it
            heard.put((name, error))

    for name in names:
        # Daemons: a program that is done does not wait for a server that never answers.
        threading.Thread(target=ask, args=(name,), name=f"ask-{name}", daemon=True).start()
    answers: dict[str, Answer[T]] = {}
    deadline = time.monotonic() + limit
    while len(answers) < len(names):
        try:
            name, value = heard.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        answers[name] = _answer(name, value)
    late = Unreachable(f"{what} did not come within {limit:g} s", hint="look at your network, and try again")
    return [answers.get(name) or Answer(name, error=late) for name in names]


def configured_accounts() -> list[str]:
    """The providers that we have keys for. Raises `AuthFailed`, with how to give a key, when there are none."""
    if found := accounts.configured():
        return found
    raise AuthFailed(
        "no account of a provider is configured on this machine: there is nobody to ask",
        hint="give a key: `export AUTODL_TOKEN=...`, or another of `docs/ledger.md`; `gpubox doctor` then checks it",
    )


def _answer(name: str, value: T | BaseException) -> Answer[T]:
    if isinstance(value, GpuboxError):
        return Answer(name, error=value)
    if isinstance(value, BaseException):
        raise value
    return Answer(name, value)
