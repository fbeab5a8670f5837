"""`gpubox down`: bring home what exists only on the box, verify it, stop everything, give the box back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpubox.errors import GpuboxError, Refused, RemoteCommandFailed
from gpubox.ledger import Ledger
from gpubox.providers import provider
from gpubox.providers.attach import how_by_hand
from gpubox.remote.boxctl import Boxctl
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from gpubox.remote.transfer import ManifestFile, pull
from gpubox.remote.tunnel import stop_tunnels
from gpubox.renting import power_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.converge.progress import Board
    from gpubox.ledger import BoxRecord
    from gpubox.providers.base import Provider


@dataclass(frozen=True, slots=True)
class Plan:
    """What `down` would do: files to bring home (sizes in bytes), programs to stop, and who ends the box itself."""

    name: str
    provider: str
    files: tuple[ManifestFile, ...]
    running: tuple[str, ...]
    releases: bool
    reachable: bool
    reason: str | None = None

    @property
    def size(self) -> int:
        """Bytes to bring home."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What `down` did, with what it checked; written beside the results as `receipt.json`."""

    name: str
    provider: str
    host: str | None
    port: int | None
    added_at: str
    down_at: str
    results: str | None
    files: int
    size: int
    verified: bool
    processes_left: int | None
    released: bool
    still_to_do: str | None


def plan(name: str) -> Plan:
    """Look at the box and say what `down` would bring home, stop and release; changes nothing."""
    with Ledger() as ledger:
        record = ledger.get(name)
    source = provider(record.provider)
    if source.releases and source.state(record) == "gone":
        # An earlier `down` was cut off after the release, or somebody released it at its provider.
        reason = f"`{record.provider}` no longer has it"
        return Plan(name, record.provider, (), (), source.releases, reachable=True, reason=reason)
    if record.root is None:
        return Plan(name, record.provider, (), (), source.releases, reachable=True, reason="never converged")
    try:
        with Host(Login.of(record)) as host:
            boxctl = Boxctl(host, record.root)
            if not _has_boxctl(host, record.root):
                return Plan(name, record.provider, (), (), source.releases, reachable=True, reason="nothing set up")
            status = boxctl.call("status", retry=True)
            manifest = boxctl.call("manifest", timeout=1800, retry=True)
    except GpuboxError as error:
        return Plan(name, record.provider, (), (), source.releases, reachable=False, reason=error.message)
    files = tuple(ManifestFile(file["path"], int(file["size"]), file["sha256"]) for file in manifest["files"])
    running = [item["name"] for item in (*status["services"], *status["jobs"]) if item["state"] in _ALIVE]
    return Plan(name, record.provider, files, tuple(running), source.releases, reachable=True)


_ALIVE = ("running", "starting", "backoff")
# How `boxctl manifest` names a file outside of the root: this, and its absolute path without the first slash.
_ELSEWHERE = "elsewhere/"


def down(
    name: str,
    *,
    board: Board,
    confirm: Callable[[Plan], bool],
    results: Path | None = None,
    abandon_data: bool = False,
) -> Receipt:
    """Take the box down. `confirm` sees the plan first; `abandon_data` goes on although files cannot come home.

    Results go to `results`, else `./gpubox-results/<name>-<UTC time>/`. Raises `Refused` when the box cannot be
    reached (its data would be lost) or `confirm` says no, and `TransferFailed` when a file did not arrive whole:
    then everything still runs.
    """
    with Ledger() as ledger, ledger.lock(name):
        record = ledger.get(name)
        source = provider(record.provider)
        if source.releases and source.state(record) == "stopped":
            record = power_on(ledger, record, source, board)  # To look at its disk.
        with board.step("what exists only on the box") as step:
            intent = plan(name)
            step.say(_plan_words(intent))
        if not intent.reachable and not abandon_data:
            raise _out_of_reach(name, intent)
        with board.aside():
            agreed = confirm(intent)
        if not agreed:
            raise Refused("nothing was done", where=name)
        ledger.audit(name, "down", "begun", {"files": len(intent.files), "bytes": intent.size})
        place = (results or results_place(name)) if intent.files else results
        if intent.files and place is not None:
            _bring_home(record, intent, place, board, title="bring it home")
        with board.step("stop everything") as step:
            stop_tunnels(name)
            left = _stop(record, intent)
            step.say("tunnels, services, jobs and supervisord ended")
        if intent.files and place is not None:
            # Programs write until they are stopped: their last lines and files are part of what exists only there.
            intent = plan(name)
            if not intent.reachable:
                raise _out_of_reach(name, intent)
            _bring_home(record, intent, place, board, title="bring home what was written meanwhile")
        released, still = _release(record, source, board)
        receipt = _receipt(record, intent, place, left=left, released=released, still=still)
        ledger.update(name, state="released", digest=None)
        ledger.audit(name, "down", "done", asdict(receipt))
    if place is not None:
        _write_receipt(place, receipt)
    return receipt


def _out_of_reach(name: str, intent: Plan) -> Refused:
    return Refused(
        f"the box cannot be reached ({intent.reason}), so what exists only there would be lost",
        where=name,
        hint=f"`gpubox start {name}` and try again, or give it up with `gpubox down {name} --abandon-data`",
    )


def results_place(name: str, below: Path = Path("gpubox-results")) -> Path:
    """A new directory for what comes home from the box `name`, named by the time (UTC)."""
    return below.absolute() / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def _bring_home(record: BoxRecord, intent: Plan, place: Path, board: Board, *, title: str) -> None:
    with board.step(title) as step:
        got = 0

        def on_bytes(count: int) -> None:
            nonlocal got
            got += count
            step.say(f"{got / 2**20:.1f} of {intent.size / 2**20:.1f} MiB")

        login = Login.of(record)
        outside = [file for file in intent.files if file.path.startswith(_ELSEWHERE)]
        pull(login, record.root or "", [file for file in intent.files if file not in outside], place, on_bytes)
        if outside:
            absolute = [replace(file, path=file.path.removeprefix(_ELSEWHERE)) for file in outside]
            pull(login, "/", absolute, place / _ELSEWHERE, on_bytes)
        manifest = [asdict(file) for file in intent.files]
        (place / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
        step.say(f"{len(intent.files)} files, {intent.size / 2**20:.1f} MiB, every SHA-256 verified, in {place}")


def _stop(record: BoxRecord, intent: Plan) -> int | None:
    """End everything on the box; how many of its processes are left, or None when nobody could look."""
    if not intent.reachable:
        return None
    if record.root is None or intent.reason is not None:
        return 0
    try:
        with Host(Login.of(record)) as host:
            answer: dict[str, Any] = Boxctl(host, record.root).call("shutdown", timeout=180, retry=True)
    except RemoteCommandFailed as error:
        raise Refused(
            f"not everything on the box could be stopped: {error.message}",
            where=record.name,
            hint=f"`gpubox status {record.name}`, then `gpubox down {record.name}` again",
        ) from error
    return int(answer.get("left", 0))


def _release(record: BoxRecord, source: Provider, board: Board) -> tuple[bool, str | None]:
    if not source.releases:
        return False, how_by_hand(record, "release")
    with board.step(f"give the box back to `{record.provider}`") as step:
        source.release(record)
        if source.state(record) != "gone":
            raise Refused(
                f"`{record.provider}` still has the box although it was released",
                where=record.name,
                hint=f"`gpubox down {record.name}` again",
            )
        step.say("gone")
    return True, None


def _receipt(
    record: BoxRecord, intent: Plan, place: Path | None, *, left: int | None, released: bool, still: str | None
) -> Receipt:
    return Receipt(
        name=record.name,
        provider=record.provider,
        host=record.host,
        port=record.port,
        added_at=record.created_at.isoformat(timespec="seconds"),
        down_at=datetime.now(UTC).isoformat(timespec="seconds"),
        results=str(place) if place is not None else None,
        files=len(intent.files),
        size=intent.size,
        verified=bool(intent.files) and intent.reachable,
        processes_left=left,
        released=released,
        still_to_do=still,
    )


def _write_receipt(place: Path, receipt: Receipt) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / "receipt.json").write_text(json.dumps(asdict(receipt), indent=1, ensure_ascii=False) + "\n")


def _plan_words(intent: Plan) -> str:
    if intent.reason is not None:
        return intent.reason
    return (
        f"{len(intent.files)} files, {intent.size / 2**20:.1f} MiB; running: {', '.join(intent.running) or 'nothing'}"
    )


def _has_boxctl(host: Host, root: str) -> bool:
    import shlex

    return host.run(f"test -x {shlex.quote(root)}/bin/boxctl", check=False, retry=True).exit_code == 0
