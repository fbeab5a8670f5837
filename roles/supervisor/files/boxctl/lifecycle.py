"""Starting the keeper (and so supervisord and every service), and ending everything."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxctl import files, processes
from boxctl.errors import BoxctlError
from boxctl.layout import Layout, boot_mark
from boxctl.rpc import NotRunningError, Supervisord

if TYPE_CHECKING:
    from collections.abc import Callable

_LOCK = "boot.lock"
_BOOT_TIMEOUT = 30.0
_STOP_TIMEOUT = 20.0
# What services and jobs may see of the environment in which the keeper was started: the same after a login, a converge
# and a boot, and none of the secrets of a login session.
_KEPT = {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE"}
_KEPT |= {"SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
_KEPT_PREFIXES = ("PYTHONPYCACHEPREFIX", "LC_", "PIP_", "UV_", "CUDA_", "NVIDIA_")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def boot(layout: Layout, *, hook: bool = False) -> dict[str, Any]:
    """Start the keeper when it does not run, and wait until supervisord answers; `{"changed", "supervisord"}`.

    From the box's boot `hook` nothing is started that was shut down since this boot.
    """
    if hook and _was_shut_down(layout):
        return {"changed": False, "supervisord": None}
    changed = keeper_pid(layout) is None or layout.stop_mark.exists()
    if changed:
        # A shutdown that is under way comes to its end first.
        with files.lock(layout.supervisor / _LOCK):
            if hook and _was_shut_down(layout):
                return {"changed": False, "supervisord": None}
            layout.stop_mark.unlink(missing_ok=True)
            if keeper_pid(layout) is None:
                _start_keeper(layout)
    return {"changed": changed, "supervisord": _answer(layout)}


def keeper_pid(layout: Layout) -> int | None:
    """The keeper's process; None when it does not run."""
    try:
        pid = int(layout.keeper_pid.read_text())
    except (OSError, ValueError):
        return None
    return pid if str(layout.keeper) in processes.command_words(pid) else None


def prepare(layout: Layout) -> None:
    """Make what supervisord needs: its configuration and its socket's directory, which is gone after each boot."""
    layout.make()
    layout.make_socket_directory()
    conf = _conf(layout)
    if not layout.conf.exists() or layout.conf.read_text(encoding="utf-8") != conf:
        files.write(layout.conf, conf)


def shutdown(layout: Layout) -> dict[str, Any]:
    """End every service and job, supervisord and the keeper, then whatever else bears this root's mark.

    `{"services", "jobs", "killed", "left"}`: what ran, what did not end by itself, how many are left (0). Raises
    `BoxctlError` when something cannot be ended. Whoever else is about to do this, or to start the keeper, waits.
    """
    layout.make()
    with contextlib.ExitStack() as held:
        # A read-only disk takes no lock, nor does a full one that never had it.
        with contextlib.suppress(OSError):
            held.enter_context(files.lock(layout.supervisor / _LOCK))
        return _end_all(layout)


def environment(root: str) -> dict[str, str]:
    """The environment of the keeper and all below it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES) or name.lower().endswith("_proxy")
    }
    # A login without a shell profile has a PATH without sbin, or none.
    path = ":".join(dict.fromkeys([*kept.get("PATH", "").split(":"), *_SYSTEM_PATH.split(":")]))
    # uv does not read the system's CA store by itself.
    found = {} if "SSL_CERT_FILE" in kept or not Path(_CERTIFICATES).exists() else {"SSL_CERT_FILE": _CERTIFICATES}
    home = {"HOME": str(Path("~").expanduser()), "LANG": "C.UTF-8"}  # PID 1 may have neither
    return {**home, **kept, **found, "PATH": path.strip(":"), "GPUBOX_ROOT": root}


def _end_all(layout: Layout) -> dict[str, Any]:
    from boxctl import jobs

    marked = _leave_mark(layout)
    ran = _running_services(layout)
    working = {name: state for name in jobs.names(layout) if (state := jobs.read(layout, name))["state"] == "running"}
    for state in working.values():
        processes.send(int(state["pid"]), signal.SIGTERM)
    patience = max([_STOP_TIMEOUT, *(_stop_seconds(layout, name) + 10 for name in (*ran, *working))])
    supervisord = _end_supervisord(layout, by_keeper=not marked)

    def busy() -> bool:
        jobs_left = any(jobs.read(layout, name)["state"] == "running" for name in working)
        return jobs_left or keeper_pid(layout) is not None or processes.look(supervisord) is not None

    _until(lambda: not busy(), patience)
    killed = [{"pid": pid, "command": processes.command(pid)} for pid in _marked(layout)]
    told = processes.end(lambda: _marked(layout), grace=3.0)
    # Not what somebody who has just logged in asks for: it came when all others had ended.
    left = [{"pid": pid, "command": processes.command(pid)} for pid in _marked(layout) if pid in told]
    if left:
        words = ", ".join(f"{item['pid']} ({item['command'] or 'no command line'})" for item in left)
        raise BoxctlError(
            f"{len(left)} processes cannot be ended: {words}", hint="power the box off", more={"left": len(left)}
        )
    # supervisord makes its socket under another name first: one that a power cut left lies there for good.
    shutil.rmtree(layout.socket.parent, ignore_errors=True)
    return {"services": ran, "jobs": sorted(working), "killed": killed, "left": 0}


def _marked(layout: Layout) -> list[int]:
    """What runs on behalf of this root, but for those who wait for the lock: a login's hook, another shutdown."""
    marks = [f"GPUBOX_ROOT={layout.root}"]
    found = {pid: processes.command_words(pid) for pid in processes.marked(marks)}
    if not all(found.values()):
        # Who has no command line has most often just ended, and may have been one of those who waited.
        still = processes.marked(marks)
        found = {pid: words for pid, words in found.items() if words or pid in still}
    return [pid for pid, words in found.items() if not _waits(words)]


def _waits(words: list[str]) -> bool:
    return any(pair in {("boxctl", "boot"), ("boxctl", "shutdown")} for pair in itertools.pairwise(words))


def _was_shut_down(layout: Layout) -> bool:
    """Since the box booted."""
    # An empty mark is one for which a full disk had no room.
    return layout.stop_mark.exists() and layout.stop_mark.read_text().strip() in {"", boot_mark().strip()}


def _start_keeper(layout: Layout) -> None:
    import subprocess

    prepare(layout)
    if not layout.keeper.exists():
        raise BoxctlError(f"`{layout.keeper}` is missing", hint="run `bootstrap.sh` of the role `supervisor` again")
    subprocess.Popen(
        ["/bin/sh", str(layout.keeper), str(layout.root)],
        env=environment(str(layout.root)),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _answer(layout: Layout) -> int:
    deadline = time.monotonic() + _BOOT_TIMEOUT
    while True:
        try:
            return Supervisord(layout).pid()
        except NotRunningError:
            if layout.stop_mark.exists():
                raise BoxctlError("it was shut down meanwhile", hint="`boxctl boot` once more") from None
            if time.monotonic() > deadline:
                said = files.tail(layout.supervisor / "keeper.log", 500).decode("utf-8", "replace").strip()
                words = f"supervisord did not start within {_BOOT_TIMEOUT:g} s: {said or 'no message'}"
                raise BoxctlError(
                    words, hint=f"`{layout.supervisor}/keeper.log` and `boxctl logs supervisord`"
                ) from None
        time.sleep(0.05)


def _running_services(layout: Layout) -> list[str]:
    try:
        infos = Supervisord(layout).processes()
    except NotRunningError:
        return []
    return [
        name.removeprefix("service-") for name, info in infos.items() if info["pid"] and name.startswith("service-")
    ]


def _leave_mark(layout: Layout) -> bool:
    """Leave what tells the keeper to end, and a login not to start it again; whether the disk takes it."""
    try:
        files.write(layout.stop_mark, boot_mark() + "\n")
    except OSError:
        # Everything has to end on a full disk and on a read-only one, too. A full one has room for a name.
        try:
            layout.stop_mark.touch()
        except OSError:
            return False
    return True


def _end_supervisord(layout: Layout, *, by_keeper: bool) -> int:
    """Have supervisord end everything and itself; its process (0: it does not answer).

    The keeper ends after it, when it finds the mark; `by_keeper`: without one it has to be told, and ends both.
    """
    try:
        supervisord = Supervisord(layout)
        pid = supervisord.pid()
        if not by_keeper:
            supervisord.shutdown()
        elif keeper := keeper_pid(layout):
            processes.send(keeper, signal.SIGTERM)
    except NotRunningError:
        if keeper := keeper_pid(layout):
            processes.send(keeper, signal.SIGTERM)
        return 0
    return pid


def _until(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.1)


def _stop_seconds(layout: Layout, name: str) -> float:
    service = files.read_json(layout.service(name) / "service.json")
    job = files.read_json(layout.job(name) / "job.json")
    return float((service or job or {}).get("stop_seconds", 30))


def _conf(layout: Layout) -> str:
    user = "user=root\n" if os.getuid() == 0 else ""
    # `%` begins an expansion, and the pattern is relative since blanks in it would part it.
    root = str(layout.supervisor).replace("%", "%%")
    return f"""\
[unix_http_server]
file={layout.socket}
chmod=0600

[supervisord]
nodaemon=true
silent=true
{user}identifier=gpubox
pidfile={root}/supervisord.pid
logfile={root}/supervisord.log
logfile_maxbytes=5MB
logfile_backups=2
childlogdir={root}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files=conf.d/*.ini
"""
