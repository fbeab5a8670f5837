"""Waiting for an instance: its state, its SSH server, its host key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gpubox.errors import Failed, NoStock, Unreachable
from gpubox.providers.clock import pauses
from gpubox.providers.ec2 import instances, trouble
from gpubox.providers.ec2.trouble import ApiError
from gpubox.providers.greeting import greets

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.providers.clock import Clock
    from gpubox.providers.ec2.account import Account

# In seconds. Machines with eight cards boot for many minutes; a stop may take as long.
_BOOT = 1200.0
_STATE = 900.0
_SSH = 900.0
_CONSOLE = 240.0
# AWS's answers may lag behind its own: a box of a moment ago may be unknown for so long.
_LAG = 20.0
# cloud-init prints the host keys on the console between these lines, at the first boot.
_KEYS = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
_KEY = re.compile(r"\b(ssh-ed25519|ecdsa-sha2-nistp256|ssh-rsa) (AAAA[A-Za-z0-9+/=]+)")
_PREFERRED = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")


def until_running(account: Account, clock: Clock, ref: str, name: str, say: Callable[[str], None]) -> dict[str, Any]:
    """The instance when it runs and has a public address.

    Raises `Failed` (`NoStock` for lack of machines) when it ended instead, and `Unreachable` when it takes too long.
    """
    region, instance_id = instances.parted(ref, account.home())
    for waited in pauses(clock, _BOOT, first=1.0):
        instance = instances.get(account, region, instance_id)
        state = instances.state_of(instance)
        if instance is not None and state == "running" and instance.get("PublicIpAddress"):
            return instance
        if instance is None and waited < _LAG:
            continue
        if instance is not None and state == "running" and waited > _STATE:
            raise Failed(
                "the box runs, but has no public address",
                where=name,
                hint="take a subnet that gives public addresses (`ec2.subnet`), then `gpubox down` and `gpubox up`",
            )
        if state == "gone" or (state in ("stopped", "stopping") and waited >= _LAG):
            raise _ended(instance, state, name)
        say(f"AWS says {instance['State']['Name'] if instance else 'nothing yet'}")
    raise Unreachable(
        f"the box has not come up for {_BOOT / 60:.0f} minutes; it is billed",
        where=name,
        hint=f"`gpubox down {name}` gives it back",
    )


def until_state(account: Account, clock: Clock, ref: str, name: str, *wanted: str) -> dict[str, Any] | None:
    """The instance when AWS shows one of these states of its own. Raises `Unreachable` when that takes too long."""
    region, instance_id = instances.parted(ref, account.home())
    shown = "nothing"
    for _ in pauses(clock, _STATE, first=1.0, longest=10.0):
        instance = instances.get(account, region, instance_id)
        shown = instance["State"]["Name"] if instance else "terminated"
        if shown in wanted:
            return instance
    raise Unreachable(
        f"AWS has shown the box as `{shown}`, not as `{wanted[0]}`, for {_STATE / 60:.0f} minutes",
        where=name,
        hint=f"look at {ref} in AWS's console",
    )


def until_ssh(clock: Clock, host: str, port: int, name: str, say: Callable[[str], None], hint: str) -> None:
    """Return when an SSH server greets there. Raises `Unreachable` with `hint` when none does in time."""
    for waited in pauses(clock, _SSH, first=1.0):
        if greets(host, port):
            return
        say(f"waiting for its SSH server, {waited:.0f} s")
    raise Unreachable(f"no SSH server has answered at {host}:{port} for {_SSH / 60:.0f} minutes", where=name, hint=hint)


def host_key(account: Account, clock: Clock, ref: str, say: Callable[[str], None]) -> str | None:
    """The host key that the box printed on its console at its first boot; None when it is not there in time."""
    region, instance_id = instances.parted(ref, account.home())
    for waited in pauses(clock, _CONSOLE, first=1.0, longest=10.0):
        key = key_on_console(_console(account, region, instance_id))
        if key is not None:
            return key
        say(f"waiting for its host key on AWS's console, {waited:.0f} s")
    return None


def key_on_console(text: str) -> str | None:
    """The best host key (`TYPE BASE64`) of the last block of host keys in the text of a console."""
    blocks = _KEYS.findall(text)
    found = dict(_KEY.findall(blocks[-1])) if blocks else {}
    return next((f"{kind} {found[kind]}" for kind in _PREFERRED if kind in found), None)


def _console(account: Account, region: str, instance_id: str) -> str:
    """What the box has printed so far."""
    try:
        answer = account.ask("ec2", region, "get_console_output", InstanceId=instance_id, Latest=True)
    except ApiError as error:
        # Only machines of the Nitro kind can be asked for it live.
        if error.code not in ("UnsupportedOperation", "InvalidParameterCombination"):
            raise
        answer = account.ask("ec2", region, "get_console_output", InstanceId=instance_id)
    text: str = answer.get("Output") or ""
    return text


def _ended(instance: dict[str, Any] | None, state: str, name: str) -> Failed | NoStock:
    code, words = instances.why_ended(instance or {})
    said = trouble.of(code, words, where=name) if code else None
    if isinstance(said, NoStock):
        return said
    return Failed(
        f"the box did not come up, AWS shows it as {state}: {words}",
        where=name,
        hint=f"`gpubox down {name}`, then `gpubox up {name}`",
    )
