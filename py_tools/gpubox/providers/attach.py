"""Boxes that a person rents or owns, and gave us the login of: `gpubox add NAME "ssh ..."`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NoReturn

from gpubox.errors import Failed, Refused
from gpubox.providers.base import Rented
from gpubox.providers.greeting import greets
from gpubox.remote.login import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.ledger import BoxRecord
    from gpubox.preflight import Finding
    from gpubox.providers.base import Alive, Offer, Order, State, Wish

Action = Literal["start", "stop", "release"]

_PROBE_SECONDS = 8.0
_AUTODL_HOSTS = ("seetacloud.com", "autodl.com")
# The words on the buttons of AutoDL's list of instances.
_AUTODL_WORDS = {
    "start": "choose 开机 (power on)",
    "stop": "choose 关机 (power off); its disks stay for 15 days",
    "release": "choose 关机 (power off), then 更多 > 释放实例 (release); that deletes its disks",
}
_OTHER_WORDS = {
    "start": "start it",
    "stop": "stop it",
    "release": "stop or delete it",
}


class AttachProvider:
    """Uses what the ledger knows; rents, powers and releases nothing."""

    name = "attach"
    bills = False
    releases = False

    def create(self, order: Order) -> str:
        """Refused: a person rents the box."""
        raise Refused(
            "`provider: attach` rents nothing: it is for a box that you rent or own",
            hint='rent it at its provider, copy its login line, then: gpubox add NAME "ssh -p PORT root@HOST"',
        )

    def find(self, name: str) -> None:
        """Nothing was ever ordered."""

    def ready(self, record: BoxRecord, say: Callable[[str], None]) -> Rented:
        """Where `gpubox add` found it. Raises `Failed` when it was never added."""
        return Rented("", _endpoint(record))

    def whereabouts(self, record: BoxRecord) -> None:
        """Only its owner knows."""

    def state(self, record: BoxRecord) -> State:
        """`running` when an SSH server greets us, else `unknown`; waits 8 s at most. Behind a jump host: `unknown`."""
        endpoint = _endpoint(record)
        if endpoint.proxy_jump is not None:
            return "unknown"
        return "running" if greets(endpoint.host, endpoint.port, _PROBE_SECONDS) else "unknown"

    def power_on(self, record: BoxRecord) -> None:
        """Refused, with how a person does it."""
        _by_hand(record, "start", f'; then gpubox add {record.name} "ssh ..." with the login line it shows then')

    def power_off(self, record: BoxRecord) -> None:
        """Refused, with how a person does it."""
        _by_hand(record, "stop")

    def release(self, record: BoxRecord) -> None:
        """Nothing to give back: the box is not ours. The story tells its owner with `how_by_hand`."""

    def alive(self) -> list[Alive]:
        """Nothing: there is no account to ask."""
        return []

    def offers(self, wish: Wish) -> list[Offer]:
        """Nothing: a person rents the box."""
        return []

    def balance(self) -> None:
        """No account."""

    def check(self) -> list[Finding]:
        """Nothing to judge: no account."""
        return []


def _endpoint(record: BoxRecord) -> Endpoint:
    if record.host is None:
        raise Failed(
            f"the login of `{record.name}` is not known",
            where=record.name,
            hint=f'gpubox add {record.name} "ssh -p PORT root@HOST"',
        )
    return Endpoint(record.host, record.port or 22, record.user or "root", record.proxy_jump)


def how_by_hand(record: BoxRecord, action: Action) -> str:
    """How a person starts, stops or releases the box where it was rented."""
    host = record.host or ""
    if any(host == domain or host.endswith(f".{domain}") for domain in _AUTODL_HOSTS):
        words = _AUTODL_WORDS[action]
        return f"open https://www.autodl.com/console/instance/list (容器实例), find the row of `{host}`, {words}"
    return f"open the web page where you rented `{host or record.name}`, and {_OTHER_WORDS[action]} there"


def _by_hand(record: BoxRecord, action: Action, then: str = "") -> NoReturn:
    raise Refused(
        f"gpubox cannot {action} `{record.name}`: it was added by its login, and its provider is not known",
        where=record.name,
        hint=how_by_hand(record, action) + then,
    )
