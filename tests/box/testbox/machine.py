"""One box's namespaces: power on, power off, commands inside, an sshd for each connection.

Everything hangs on the box's PID 1: when it dies the kernel ends every process, mount and interface of the box. PID 1
dies with `unshare`, and that with the warden, so not even a SIGKILL leaves a box behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from box.testbox import cgroup, layers, scratch

if TYPE_CHECKING:
    from box.testbox.options import BoxOptions
    from box.testbox.relay import Streams

_ENTER = Path(__file__).with_name("rootfs") / "enter.sh"
_ENV = ("env", "-i", "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
_BOOT_SECONDS = 60


class Machine:
    """`base` is the read-only lower layer; `disk` holds everything else and is removed by `destroy`."""

    def __init__(self, base: str, disk: scratch.Scratch, options: BoxOptions, overlay_options: str) -> None:
        self._base = base
        self._disk = disk
        self._options = options
        self._overlay_options = overlay_options
        self._unshare: asyncio.subprocess.Process | None = None
        self._pid: int | None = None
        self._sessions: dict[int, asyncio.Task[int]] = {}
        self._create()

    @property
    def pid(self) -> int:
        """Of the box's PID 1, as this machine counts. Raises `RuntimeError` when the box is off."""
        if self._pid is None or self._unshare is None or self._unshare.returncode is not None:
            raise RuntimeError("the box is off")
        return self._pid

    def host_key(self) -> str:
        """The public host key, "ssh-ed25519 AAAA..."."""
        text = (self._disk.path / "upper" / f"{layers.HOST_KEY}.pub").read_text()
        return " ".join(text.split()[:2])

    def set_password(self, password: str) -> None:
        """Sets root's password of the next boot, as the provider's control plane does."""
        (self._disk.path / "upper/sync/root-passwd").write_text(password + "\n")

    async def power_on(self) -> asyncio.subprocess.Process:
        """Boots; returns when /etc/profile has been read, with the process whose end is the box's end."""
        unshare = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        if self._options.network == "empty":
            unshare.append("--net")
        if self._groups:
            unshare.append("--cgroup")
        argv = ["setpriv", "--pdeathsig", "KILL", *unshare, str(_ENTER), self._base, str(self._disk.path)]
        with self._log("console.log") as log:
            self._unshare = await asyncio.create_subprocess_exec(
                *self._in_groups(argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self._environment()},
            )
        try:
            self._pid = int((await self._said("pid")).split()[1])
            await self._said("ready")
        except BaseException:
            await self.power_off()
            raise
        return self._unshare

    async def power_off(self) -> None:
        """Kills PID 1 and waits until nothing of the box runs any more. Its disk stays."""
        if self._unshare is not None:
            for pid in (self._pid, self._unshare.pid):
                if pid is not None and self._unshare.returncode is None:
                    _kill(pid)
            await self._unshare.wait()
        self._pid = None
        if self._sessions:
            await asyncio.wait(list(self._sessions.values()))

    async def connect(self) -> Streams:
        """Starts an sshd in the box and returns the other end of its connection."""
        ours, theirs = _tcp_pair()
        with theirs, self._log("sshd.log") as log:
            process = await asyncio.create_subprocess_exec(
                *self._inside(["/usr/sbin/sshd", "-i", "-e"]), stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=log
            )
        task = asyncio.create_task(process.wait())
        self._sessions[process.pid] = task
        task.add_done_callback(lambda _: self._sessions.pop(process.pid, None))
        return await asyncio.open_connection(sock=ours)

    def kill_sessions(self) -> int:
        """SIGKILLs every sshd of open connections; the commands they started are left alone. Returns how many."""
        victims = [pid for session in self._sessions for pid in _family(session) if _command(pid) == "sshd"]
        for pid in victims:
            _kill(pid)
        return len(victims)

    async def execute(self, command: str, stdin: bytes, seconds: float) -> tuple[int, bytes, bytes]:
        """Runs a shell command as root in the box, not through SSH: exit code (124: too slow), stdout, stderr."""
        process = await asyncio.create_subprocess_exec(
            *self._inside(["timeout", "-k", "5", f"{seconds:g}", "bash", "-c", command]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await process.communicate(stdin)
        return await process.wait(), stdout, stderr

    async def destroy(self) -> None:
        """Ends the box and removes its disk and cgroups."""
        await self.power_off()
        if self._options.data_size is not None:
            _run("umount", str(self._disk.path / "data"))
        cgroup.remove(self._disk.name)
        await asyncio.to_thread(self._disk.remove)

    def _create(self) -> None:
        path = self._disk.path
        for name in ("upper", "work", "root", "data"):
            (path / name).mkdir()
        (path / "data").chmod(0o755)
        if self._options.data_size is not None:
            # In the warden's mount namespace, so that it outlives a power cycle but not the warden.
            _run("mount", "-t", "tmpfs", "-o", f"size={self._options.data_size},mode=755", "tmpfs", str(path / "data"))
        layers.write(path / "upper", self._options)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path / "upper" / layers.HOST_KEY))
        self._groups = cgroup.limited(self._disk.name, memory=self._options.memory, cpus=self._options.cpus)
        rows = [("bind", b.source, b.target, "rw" if b.writable else "ro") for b in self._options.binds]
        rows += [(group.kind, group.options, group.target, "ro") for group in self._groups]
        (path / "mounts").write_text("".join("\t".join(row) + "\n" for row in rows))

    def _environment(self) -> dict[str, str]:
        return {
            "HOSTNAME_": self._options.hostname,
            "NETWORK": self._options.network,
            "OVERLAY_OPTIONS": self._overlay_options,
            "DATA_DIR": self._options.data_dir,
            "DATA_MODE": "ro" if self._options.data_read_only else "rw",
        }

    def _in_groups(self, argv: list[str]) -> list[str]:
        """Joins the cgroups first: from a new cgroup namespace it would be too late."""
        joins = "".join(f"echo $$ > {group.path}/cgroup.procs && " for group in self._groups)
        return ["sh", "-c", f'{joins}exec "$@"', "sh", *argv] if joins else argv

    def _inside(self, argv: list[str]) -> list[str]:
        enter = ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i"]
        if self._options.network == "empty":
            enter.append("-n")
        if self._groups:
            enter.append("-C")
        return self._in_groups([*enter, *_ENV, *argv])

    def _log(self, name: str) -> BinaryIO:
        return (self._disk.path / name).open("ab")

    async def _said(self, word: str) -> str:
        assert self._unshare is not None
        assert self._unshare.stdout is not None
        try:
            line = await asyncio.wait_for(self._unshare.stdout.readline(), _BOOT_SECONDS)
        except TimeoutError:
            line = b""
        if not line.startswith(word.encode()):
            console = (self._disk.path / "console.log").read_text(errors="replace")
            raise RuntimeError(f"the box did not come up (waited for {word!r}):\n{console[-2000:]}")
        return line.decode()


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection, so that sshd sees a client address as on a real box."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        while True:
            far, peer = listening.accept()
            if peer == near.getsockname():
                return near, far
            far.close()


def _family(pid: int) -> list[int]:
    """The process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(member for child in children for member in _family(int(child)))]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]}: {done.stderr.strip()}")
