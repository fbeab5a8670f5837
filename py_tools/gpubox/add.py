"""`gpubox add`: adopt a box that a person rents or owns, from the SSH login line they were given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubox.errors import Refused, UsageError
from gpubox.ledger import BoxRecord, Ledger
from gpubox.providers import provider
from gpubox.remote import sshline
from gpubox.remote.facts import read_facts
from gpubox.remote.first_contact import ensure_identity, first_contact
from gpubox.remote.host import Host
from gpubox.remote.login import Login

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpubox.providers import Rented
    from gpubox.remote.login import Endpoint


@dataclass(frozen=True, slots=True)
class Added:
    """An adopted box, what of the login line was left aside, and whether the box was known before."""

    record: BoxRecord
    notes: tuple[str, ...]
    known: bool


def add(
    name: str,
    line: str | None,
    *,
    password: Callable[[], str] | None,
    accept: Callable[[str, str], bool],
    accept_new_key: bool = False,
) -> Added:
    """Pin the host key of the box that `line` names, install our key there and write the box into the ledger.

    `line` may be None for a box that is known: then its endpoint stays. `password` is asked at most once, `accept`
    gets the fingerprint and the key of a host that is new. `accept_new_key` forgets the pinned key first; that is also
    for boxes that a provider made, which otherwise are not added.
    Raises `BadSshLine`, `AuthFailed`, `HostKeyChanged`, `Unreachable`, and `Refused` when `accept` says no.
    """
    with Ledger() as ledger, ledger.lock(name):
        known = ledger.find(name)
        if known is not None and known.state == "released":
            known = None
        pinned = known.host_key if known and not accept_new_key else None
        notes: tuple[str, ...] = ()
        own_keys: tuple[Path, ...] = ()
        if known is not None and known.provider != "attach":
            rented = _rented(known, line, accept_new_key=accept_new_key)
            endpoint, pinned = rented.endpoint, rented.host_key
            password = (lambda: rented.password or "") if rented.password else password
        else:
            endpoint, notes, own_keys = _endpoint(name, line, known)
        identity = ensure_identity()
        host_key = first_contact(
            name,
            endpoint,
            password=password,
            pinned=pinned,
            accept=accept,
            identity_file=identity,
            other_keys=own_keys,
        )
        fields = {
            "host": endpoint.host,
            "port": endpoint.port,
            "user": endpoint.user,
            "proxy_jump": endpoint.proxy_jump,
            "host_key": host_key,
            "identity_file": identity,
            "state": "running",
        }
        record = ledger.update(name, **fields) if known else ledger.add(name, "attach", **fields)
        # What the box is like belongs to knowing it: plain Ansible's inventory takes it from the ledger.
        with Host(Login.of(record)) as host:
            record = ledger.update(name, facts=read_facts(host).model_dump(mode="json"))
        ledger.audit(name, "add", "done", {"host": endpoint.host, "port": endpoint.port, "user": endpoint.user})
    return Added(record, notes, known is not None)


def _rented(known: BoxRecord, line: str | None, *, accept_new_key: bool) -> Rented:
    """A box that a provider made, as that one says it is now; only its new host key can be accepted by hand."""
    if line or not accept_new_key:
        raise UsageError(
            f"`{known.name}` is a box of the provider `{known.provider}`; its login is not given by hand",
            hint="choose another name",
        )
    return provider(known.provider).ready(known, lambda _: None)


def _endpoint(
    name: str, line: str | None, known: BoxRecord | None
) -> tuple[Endpoint, tuple[str, ...], tuple[Path, ...]]:
    """Where the box is, what of the login line was left aside, and the key that the line names (`-i`)."""
    if line:
        parsed = sshline.parse(line)
        own_keys = (parsed.identity_file,) if parsed.identity_file is not None else ()
        return parsed.endpoint, tuple(parsed.notes), own_keys
    if known is None or known.host is None:
        raise UsageError(
            f"how is `{name}` reached?", hint=f'gpubox add {name} "ssh -p 38076 root@connect.westb.seetacloud.com"'
        )
    from gpubox.remote.login import Endpoint as RemoteEndpoint

    return RemoteEndpoint(known.host, known.port or 22, known.user or "root", known.proxy_jump), (), ()


def refuse_unseen(fingerprint: str, _key: str) -> bool:
    """The `accept` of a run without a terminal: nobody has compared the fingerprint, so nothing is pinned."""
    raise Refused(
        f"the host key {fingerprint} is new, and there is no terminal to ask at",
        hint="look at the fingerprint, then run the command again with `--yes`",
    )
