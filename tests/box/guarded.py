"""A test box with a real supervisord and a real guard, set up without Ansible: in a second, with limits in seconds."""

from __future__ import annotations

import io
import json
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import supervisor
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

    from box.testbox import TestBox

ROLES = Path(__file__).resolve().parents[2] / "roles"
ROOT = "/root/autodl-tmp/gpubox"
_PACKAGES = "/opt/packages"
# `supervisor` is pure Python; the box's own Python runs it.
_PYTHON = f'#!/bin/sh\nPYTHONPATH={_PACKAGES}:${{PYTHONPATH:-}}\nexport PYTHONPATH\nexec /usr/bin/python3 "$@"\n'
_DEFAULTS: dict[str, Any] = yaml.safe_load((ROLES / "guard" / "defaults" / "main.yml").read_text())
_SETTINGS: dict[str, Any] = {
    "box": "mybox", "life": "one", "since": "", "ttl": "", "idle": "", "idle_gpu_percent": 5, "budget": None,
    "price_per_hour": None, "currency": "CNY", "spent_before": 0, "warn": "10m", "before_stop": {},
    "stop_timeout": "30s", "power_off": _DEFAULTS["guard_power_off"], "interval": "0.3s", "ssh_server": "sshd",
    "metrics_urls": [], "marker": _DEFAULTS["guard_marker"],
}  # fmt: skip


class Guarded:
    """`box` with boxctl and supervisord; `guard` starts the guard."""

    def __init__(self, box: TestBox) -> None:
        self.box = box
        self._send()
        self.boxctl("boot")

    def guard(self, *, urls: tuple[str, ...] = (), **settings: object) -> None:
        """Start the guard, or start it anew with other settings."""
        self.box.write(f"{ROOT}/guard/settings.json", json.dumps({**_SETTINGS, **settings}), mode=0o600)
        self.box.write(f"{ROOT}/guard/push.json", json.dumps({"urls": list(urls)}), mode=0o600)
        python = f"{ROOT}/controller/bin/python"
        argv = [python, "-s", "-P", "-m", "boxguard", f"{ROOT}/guard"]
        env = {"PYTHONPATH": f"{ROOT}/lib", "REVISION": json.dumps(settings)}
        self.service("guard", argv=argv, env=env, start_seconds=1, stop_seconds=5)

    def service(self, name: str, **spec: object) -> None:
        """Start a service."""
        self.boxctl("service", "apply", name, stdin=spec)

    def job(self, name: str, script: str, key: str = "1") -> None:
        """Start a job that is a shell script."""
        self.boxctl("job", "start", name, stdin={"key": key, "argv": ["/bin/sh", "-c", script]})

    def boxctl(self, *words: str, stdin: object = None) -> dict[str, Any]:
        """Run one command and return what it prints."""
        text = json.dumps(stdin).encode() if stdin is not None else b""
        done = self.box.exec(f"{ROOT}/bin/boxctl {' '.join(words)}", stdin=text)
        assert done.exit_code == 0, (words, done)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def state(self) -> dict[str, Any]:
        """What the guard says."""
        shown: dict[str, Any] = self.boxctl("guard")["guard"]
        return shown

    def until(self, true: Callable[[dict[str, Any]], object], seconds: float = 120.0) -> dict[str, Any]:
        """Wait until `true` holds for what the guard says, and return that."""
        deadline = time.monotonic() + seconds
        while not true(state := self.state()):
            assert time.monotonic() < deadline, state
            time.sleep(0.1)
        return state

    def looks(self, number: int) -> list[dict[str, Any]]:
        """What the guard says after each of its next `number` looks."""
        seen: dict[float, dict[str, Any]] = {}
        first = self.state().get("looked_at")
        self.until(lambda state: seen.setdefault(state["looked_at"], state) and len(seen) > number)
        return [state for moment, state in seen.items() if moment != first]

    def log(self) -> str:
        """The guard's log."""
        return self.box.read(f"{ROOT}/logs/guard.log")

    def _send(self) -> None:
        files = ROLES / "supervisor" / "files"
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            for package in (files / "boxctl", ROLES / "guard" / "files" / "boxguard"):
                for path in sorted(package.glob("*.py")):
                    tar.add(path, f"{ROOT}/lib/{package.name}/{path.name}".lstrip("/"))
            tar.add(files / "keeper.sh", f"{ROOT}/supervisor/keeper.sh".lstrip("/"))
            tar.add(files / "boxctl.sh", f"{ROOT}/bin/boxctl".lstrip("/"))
            package = Path(supervisor.__file__).parent
            for path in sorted(path for path in package.rglob("*") if path.suffix in {".py", ".txt"}):
                if "tests" not in path.parts:
                    tar.add(path, f"{_PACKAGES}/supervisor/{path.relative_to(package)}".lstrip("/"))
            info = tarfile.TarInfo(f"{ROOT}/controller/bin/python".lstrip("/"))
            info.size, info.mode = len(_PYTHON), 0o755
            tar.addfile(info, io.BytesIO(_PYTHON.encode()))
        done = self.box.exec(f"tar -xf - -C / && chmod 755 {ROOT}/bin/boxctl", stdin=data.getvalue())
        assert done.exit_code == 0, done.stderr


def engine(port: int) -> dict[str, Any]:
    """A service like an engine: /metrics counts requests, whose number is in the file `/tmp/requests`."""
    script = (
        "import http.server, pathlib\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        running, total = pathlib.Path('/tmp/requests').read_text().split()\n"
        "        self.send_response(200); self.end_headers()\n"
        "        text = f'vllm:num_requests_running 0{running}\\nvllm:request_success_total {total}\\n'\n"
        "        self.wfile.write(text.encode())\n"
        "    def log_message(self, *a): pass\n"
        f"http.server.HTTPServer(('127.0.0.1', {port}), H).serve_forever()\n"
    )
    return {"argv": ["/usr/bin/python3", "-c", script], "port": port, "start_seconds": 1, "stop_seconds": 2}
