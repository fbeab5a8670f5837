"""Before open-webui starts: its port, its secrets, and what it is given."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from free_ports import free_port
from unit.open_webui.conftest import install
from webui_box import ports
from webui_box.errors import Trouble
from webui_box.start import kept

PROGRAM = Path(__file__).resolve().parents[3] / "roles/open_webui/files"
# Stands for open-webui: says what it was started with.
SAYS = """#!{python}
import json, os, sys
mask = os.umask(0)
print(json.dumps({{"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(), "umask": mask}}))
"""


def run(place: Path, port: int, tmp_path: Path, **more: str) -> subprocess.CompletedProcess[str]:
    program = tmp_path / "env/bin/open-webui"
    if not program.exists():
        program.parent.mkdir(parents=True)
        install(tmp_path / "env")
    program.write_text(SAYS.format(python=sys.executable))
    program.chmod(0o755)
    words = ["serve", "--host", "127.0.0.1", "--port", str(port)]
    argv = [sys.executable, "-s", "-P", "-m", "webui_box", "run", str(place), "--", str(program), *words]
    env = {**os.environ, "PYTHONPATH": str(PROGRAM), "PYTHONDONTWRITEBYTECODE": "1", "OPENAI_API_KEYS": "sk", **more}
    return subprocess.run(argv, capture_output=True, text=True, env=env, check=False, timeout=120)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_made_once_and_reach_open_webui_alone(tmp_path: Path) -> None:
    place = tmp_path / "place"
    seen = [json.loads(run(place, free_port(), tmp_path).stdout) for _ in range(2)]
    first, second = (told["env"] for told in seen)
    for name, file in (("WEBUI_SECRET_KEY", "secret-key"), ("WEBUI_ADMIN_PASSWORD", "admin-password")):
        assert first[name] == second[name] == (place / file).read_text().strip()
        assert len(first[name]) >= 24
        assert mode(place / file) == 0o600
    assert first["WEBUI_SECRET_KEY"] != first["WEBUI_ADMIN_PASSWORD"]
    assert seen[0]["argv"][:3] == ["serve", "--host", "127.0.0.1"]
    assert (seen[0]["umask"], seen[0]["cwd"], mode(place), mode(place / "data")) == (
        0o077,
        str(place / "data"),
        0o700,
        0o700,
    )
    assert "PYTHONPATH" not in first
    assert first["OPENAI_API_KEYS"] == "sk"


def test_secrets_that_lie_open_are_closed_and_empty_ones_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret-key"
    file.write_text("of-another-box\n")
    file.chmod(0o644)
    assert kept(file, size=48) == "of-another-box"
    assert mode(file) == 0o600
    file.write_text("\n")
    with pytest.raises(Trouble, match="is empty; remove it"):
        kept(file, size=48)


def test_a_port_that_a_stranger_has_is_refused_by_name(tmp_path: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        done = run(tmp_path / "place", port, tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"port {port} of 127.0.0.1 is taken by process {os.getpid()} (" in done.stderr
        assert "`open_webui_port`" in done.stderr
        assert ports.listeners(port) == {os.getpid()}
    assert not (tmp_path / "place").exists()


def test_who_is_below_whom() -> None:
    assert ports.descends(os.getpid(), os.getpid())
    assert ports.descends(os.getpid(), os.getppid())
    assert not ports.descends(os.getppid(), os.getpid())


def test_it_starts_when_its_environment_is_there_and_not_when_that_failed(tmp_path: Path) -> None:
    boxctl = tmp_path / "bin/boxctl"
    boxctl.parent.mkdir()
    boxctl.write_text('#!/bin/sh\necho "$@" > "${0%/*}/asked"\nexec test -e "${0%/*}/done"\n')
    boxctl.chmod(0o755)
    done = run(tmp_path / "place", free_port(), tmp_path, GPUBOX_AFTER_JOB="env-open-webui")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot start before job `env-open-webui` has ended well" in done.stderr
    assert (tmp_path / "bin/asked").read_text().startswith("job wait env-open-webui --timeout ")
    (tmp_path / "bin/done").touch()
    told = json.loads(run(tmp_path / "place", free_port(), tmp_path, GPUBOX_AFTER_JOB="env-open-webui").stdout)
    assert "GPUBOX_AFTER_JOB" not in told["env"]
