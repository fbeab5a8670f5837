"""`gpubox doctor`: what is wrong, and how to mend it, on this machine or on a box."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from gpubox import accounts, paths
from gpubox.asking import ask_each
from gpubox.boxfile import load
from gpubox.errors import GpuboxError, Unreachable, UsageError
from gpubox.ledger import Ledger
from gpubox.places import find_box_file
from gpubox.preflight import Finding, Findings
from gpubox.reach import reach
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.up import survey

if TYPE_CHECKING:
    from pathlib import Path

    from gpubox.asking import Answer
    from gpubox.ledger import BoxRecord
    from gpubox.preflight.findings import Level
    from gpubox.remote.facts import Facts

# The ledger, keys, bundles and a demo box with its environments, in bytes (measured: 3.2 GB for the demo).
_HOME_NEEDS = 4 * 10**9
# For the answers of all accounts together, in seconds; each asks its API several times.
_ACCOUNT_SECONDS = 45.0


def doctor_box(name: str, box_file: Path | None = None) -> tuple[Facts, Findings]:
    """Read the facts of the box `name` and judge them by its box file; changes nothing but the ledger's facts."""
    with Ledger() as ledger:
        record = ledger.get(name)
    box = load(find_box_file(name, box_file))

    def look(record: BoxRecord) -> tuple[Facts, Findings]:
        with Host(Login.of(record)) as host:
            _, facts, findings = survey(host, record, box)
        return facts, findings

    return reach(record, look)


def doctor_here() -> list[Finding]:
    """Judge this machine (Python, OpenSSH, the data directory, free space, the ledger) and the configured accounts."""
    return [_python(), _openssh(), _directory(), _space(), _ledger(), *doctor_accounts()]


def doctor_accounts(*, limit: float = _ACCOUNT_SECONDS) -> list[Finding]:
    """Judge every configured account at once, without renting anything: key, permissions, money.

    An account that has no answer after `limit` seconds is a warning. Having none is well: a box may be added by hand.
    """
    try:
        names = accounts.configured()
    except GpuboxError as error:
        return [Finding(level="warning", check="accounts", message=f"not looked at: {error.message}", fix=error.hint)]
    if not names:
        how = "none is configured, so nothing is rented from here; to rent, give a key as docs/ledger.md says"
        return [Finding(level="ok", check="accounts", message=how, fix=None)]
    answers = ask_each(names, lambda source: source.check(), limit=limit, what="its answer")
    return [finding for answer in answers for finding in _account(answer)]


def _account(answer: Answer[list[Finding]]) -> list[Finding]:
    """What an account said of itself, under its name."""
    name, error = answer.provider, answer.error
    if error is not None:
        # That nobody can tell is not a no: this network may be at fault, or a library that only that provider needs.
        level: Level = "warning" if isinstance(error, Unreachable | UsageError) else "blocker"
        fix = error.hint or f"see docs/provider-{name}.md"
        return [Finding(level=level, check=name, message=error.message, fix=fix)]
    return [
        found if found.check.startswith(name) else replace(found, check=f"{name}: {found.check}")
        for found in answer.value or ()
    ]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(level="ok", check="python", message=f"Python {version}", fix=None)


def _openssh() -> Finding:
    if (ssh := shutil.which("ssh")) is None:
        fix = "apt-get install openssh-client"
        return Finding(level="blocker", check="openssh", message="no `ssh` on PATH; tunnels need it", fix=fix)
    said = subprocess.run([ssh, "-V"], capture_output=True, text=True, check=False, timeout=10).stderr.strip()
    return Finding(level="ok", check="openssh", message=said, fix=None)


def _directory() -> Finding:
    try:
        directory = paths.data_dir()
    except GpuboxError as error:
        return Finding(level="blocker", check="data-directory", message=error.message, fix=error.hint)
    mode = directory.stat().st_mode & 0o077
    if mode:
        message = f"`{directory}` can be read by others; it holds a private key"
        return Finding(level="warning", check="data-directory", message=message, fix=f"chmod 700 {directory}")
    return Finding(level="ok", check="data-directory", message=f"`{directory}`", fix=None)


def _space() -> Finding:
    try:
        directory = paths.data_dir()
    except GpuboxError:
        return Finding(level="warning", check="space", message="free space is unknown", fix="set `GPUBOX_HOME`")
    free = os.statvfs(directory).f_bavail * os.statvfs(directory).f_frsize
    message = f"{free / 1e9:.1f} GB free at `{directory}`"
    if free < _HOME_NEEDS:
        fix = "free some space, or set `GPUBOX_HOME` and `GPUBOX_CACHE` to a larger disk"
        return Finding(level="warning", check="space", message=message + "; the demo needs 4 GB", fix=fix)
    return Finding(level="ok", check="space", message=message, fix=None)


def _ledger() -> Finding:
    try:
        with Ledger() as ledger:
            count = len(ledger.boxes())
    except GpuboxError as error:
        return Finding(level="blocker", check="ledger", message=error.message, fix=error.hint)
    return Finding(level="ok", check="ledger", message=f"{count} {'box' if count == 1 else 'boxes'}", fix=None)
