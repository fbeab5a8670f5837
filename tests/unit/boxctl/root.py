"""A root with a real supervisord, whose controller environment is the one that the tests run in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from waits import until

FILES = Path(__file__).resolve().parents[3] / "roles" / "supervisor" / "files"


class Root:
    """One gpubox root; `boxctl` runs as a person's login would run it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for directory in ("bin", "controller/bin", "supervisor", "lib"):
            (path / directory).mkdir(parents=True, exist_ok=True)
        python = path / "controller" / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        (path / "controller" / "bin" / "ansible-playbook").symlink_to(Path(sys.executable).parent / "ansible-playbook")
        (path / "lib" / "boxctl").symlink_to(FILES / "boxctl")
        shutil.copy(FILES / "keeper.sh", path / "supervisor" / "keeper.sh")
        shutil.copy(FILES / "autostart.sh", path / "supervisor" / "autostart.sh")
        shutil.copy(FILES / "boxctl.sh", path / "bin" / "boxctl")
        (path / "bin" / "boxctl").chmod(0o755)

    def boxctl(self, *arguments: str, stdin: object = None, code: int = 0) -> dict[str, Any]:
        """Run one command, see that it ends with `code`, and return its JSON object."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def run(self, *arguments: str, stdin: object = None) -> subprocess.CompletedProcess[str]:
        """Run one command."""
        text = stdin if isinstance(stdin, str) else json.dumps(stdin) if stdin is not None else ""
        argv = [str(self.path / "bin" / "boxctl"), *arguments]
        return subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=120)

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one command and read what it prints."""
        argv = [str(self.path / "bin" / "boxctl"), *arguments]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)

    def service(self, name: str) -> dict[str, Any]:
        """A service as `status` shows it."""
        return next(item for item in self.boxctl("status")["services"] if item["name"] == name)

    def job(self, name: str) -> dict[str, Any]:
        """A job as `status` shows it."""
        return next(item for item in self.boxctl("status")["jobs"] if item["name"] == name)

    def supervisord(self) -> int:
        """The process number of supervisord, once it has written it (a new one empties the file first)."""
        written = self.path / "supervisor" / "supervisord.pid"
        until(lambda: written.exists() and written.read_text().strip())
        return int(written.read_text())


def bearing(mark: str) -> list[int]:
    """Processes whose environment holds `mark`, but for this one."""
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit() or int(place.name) == os.getpid():
            continue
        try:
            words = (place / "environ").read_bytes().split(b"\0")
            zombie = (place / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            continue
        if mark.encode() in words and not zombie:
            found.append(int(place.name))
    return found


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
