"""The web UI as the role `open_webui` installs it, against `pip install open-webui` (only with `--plain`: 3 GB).

Size on disk, seconds and CPU seconds until `/health` answers, memory at rest. All on loopback, with no engine.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import yaml

from benchmarks.measure import run, table

ROOT = Path(__file__).resolve().parent.parent
ROLE = ROOT / "roles/open_webui"
sys.path[:0] = [str(ROOT / "tests")]

from box.testbox.wheelhouse import pip_configuration, uv_flags, wheel_set  # noqa: E402 - found by the line above

STARTS = 3
_UP_SECONDS = 600.0


class Start(NamedTuple):
    """One start: seconds and CPU seconds until it is healthy, and memory in MB (the last one's 30 s later)."""

    wall: float
    cpu: float
    rss: float


def main(*, plain: bool = False) -> str:
    """Measure, and give the section of the report."""
    with tempfile.TemporaryDirectory(prefix="gpubox-bench-") as directory:
        place = Path(directory)
        rows = [_row("`gpubox`", *_installed(place / "ours", ours=True), _settings(), place / "ours-data")]
        if plain:
            none = {"OFFLINE_MODE": "True", "WEBUI_SECRET_KEY": "benchmark"}
            rows.append(
                _row("`pip install open-webui`", *_installed(place / "plain", ours=False), none, place / "data")
            )
    head = ["", "install, s", "on disk, MB", "first start, s", "its CPU s", "later, s", "CPU s", "memory at rest, MB"]
    return f"## The web UI's size and start (median of {STARTS} starts after the first)\n\n{table(head, rows)}"


def _row(name: str, environment: Path, seconds: float, settings: dict[str, str], data: Path) -> list[str]:
    first, *later = (_start(environment, settings, data, rest=number == STARTS) for number in range(STARTS + 1))
    wall, cpu = (statistics.median(getattr(start, field) for start in later) for field in ("wall", "cpu"))
    size = int(subprocess.run(["du", "-sm", environment], capture_output=True, check=True).stdout.split()[0])
    starts = (first.wall, first.cpu, wall, cpu)
    return [name, f"{seconds:.0f}", f"{size}", *(f"{start:.1f}" for start in starts), f"{later[-1].rss:.0f}"]


def _installed(environment: Path, *, ours: bool) -> tuple[Path, float]:
    """An environment and the seconds that it took; packages may come from uv's cache."""
    wanted = wheel_set("open_webui")
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    run([uv, "venv", "--quiet", "--python", "3.11", str(environment)])
    excludes = environment.with_suffix(".excludes")
    excludes.write_text("\n".join(wanted.excludes if ours else ()) + "\n")
    argv = [uv, "pip", "install", "--quiet", "--python", str(environment / "bin/python")]
    argv += [*uv_flags(pip_configuration()), "--excludes", str(excludes)]
    # Without a word on torch some indexes give 5 GB of CUDA.
    argv += wanted.requirements if ours else (wanted.requirements[0], "torch==2.13.0+cpu")
    seconds = run(argv).wall
    if ours:
        # As the role does it: what every start loads is compiled before the first one.
        values = yaml.safe_load((ROLE / "vars/main.yml").read_text())
        place = str(environment.with_suffix(".import"))
        env = {**os.environ, **values["open_webui_import_environment"], "DATA_DIR": place}
        modules = ", ".join(values["open_webui_imports"])
        seconds += run([str(environment / "bin/python"), "-c", f"import {modules}"], env=env).wall
    return environment, seconds


def _settings() -> dict[str, str]:
    """What the role sets for every box alike."""
    values = yaml.safe_load((ROLE / "vars/main.yml").read_text())["open_webui_common_environment"]
    fixed = {name: value for name, value in values.items() if "{{" not in value}
    keys = ("ENABLE_PERSISTENT_CONFIG", "ENABLE_SIGNUP", "ENABLE_PLUGINS", "ENABLE_ADMIN_EXPORT")
    return {**fixed, **dict.fromkeys(keys, "False"), "PYTHONPATH": str(ROLE / "files")}


def _start(environment: Path, settings: dict[str, str], data: Path, *, rest: bool) -> Start:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    argv = [str(environment / "bin/open-webui"), "serve", "--host", "127.0.0.1", "--port", str(port)]
    if "PYTHONPATH" in settings:
        argv = [sys.executable, "-m", "webui_box", "run", str(data), "--", *argv]
    env = {**os.environ, **settings, "DATA_DIR": str(data / "data"), "PYTHONDONTWRITEBYTECODE": ""}
    (data / "data").mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=data) as process:
        try:
            while not _healthy(port):
                if process.poll() is not None or time.monotonic() - begun > _UP_SECONDS:
                    raise RuntimeError(f"{' '.join(argv)}: not healthy (exit code {process.returncode})")
                time.sleep(0.05)
            wall, cpu = time.monotonic() - begun, _cpu(process.pid)
            if rest:
                time.sleep(30)
            return Start(wall, cpu, _rss(process.pid))
        finally:
            process.terminate()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _rss(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    print(main(plain="--plain" in sys.argv[1:]))
