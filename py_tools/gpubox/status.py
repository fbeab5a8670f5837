"""What runs on a box: `gpubox status NAME`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubox.errors import UsageError
from gpubox.ledger import BoxRecord, Ledger
from gpubox.reach import reach
from gpubox.remote.boxctl import Boxctl
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.remote.tunnel import list_tunnels

if TYPE_CHECKING:
    from collections.abc import Callable

ENGINES = frozenset({"vllm", "ktransformers", "ollama"})


def status(name: str, say: Callable[[str], None] = lambda _words: None) -> dict[str, Any]:
    """What runs on one box, in one round trip, with the tunnels to it; the shape is in `gpubox status --help`.

    `say` hears where a box is found that has moved.
    """
    record, answer = reach(converged(name), _asked, say)
    tunnels = [tunnel.as_dict() for tunnel in list_tunnels(name)]
    return {
        "name": name,
        "provider": record.provider,
        "endpoint": f"{record.user}@{record.host}:{record.port}",
        **answer,
        "tunnels": tunnels,
    }


def _asked(record: BoxRecord) -> tuple[BoxRecord, dict[str, Any]]:
    with Host(Login.of(record)) as host:
        return record, Boxctl(host, record.root or "").call("status", retry=True)


def converged(name: str) -> BoxRecord:
    """The record of a box that has been set up; raises `UnknownBox`, or `UsageError` naming `gpubox up`."""
    with Ledger() as ledger:
        record = ledger.get(name)
    if record.root is None or record.state == "released":
        raise UsageError(f"nothing is set up on `{name}`", hint=f"gpubox up {name}")
    return record


def engine(answer: dict[str, Any]) -> dict[str, Any] | None:
    """The service in a status that serves the model: the one with a port and a health URL, running first."""
    candidates = [item for item in answer["services"] if item.get("port") and item["name"] in ENGINES]
    return next(iter(sorted(candidates, key=lambda item: item["state"] != "running")), None)
