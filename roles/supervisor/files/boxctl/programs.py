"""The files that tell supervisord what to run. They name a directory; argv and secrets stay in there, 0600."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from boxctl import files

if TYPE_CHECKING:
    from pathlib import Path

    from boxctl.layout import Layout

# Beyond the program's own time to stop: our wrapper kills what is left, then supervisord the wrapper.
STOP_MARGIN = 5
_RETRIES = 5


def service_conf(layout: Layout, name: str, *, start_seconds: int, stop_seconds: int) -> str:
    """Section of a service: always restarted, with supervisord's growing pauses between failed starts.

    supervisord signals the wrapper alone, which passes TERM on to everything below it, once; KILL goes to the group.
    """
    lines = {
        "command": _command(layout, "boxctl.execute", layout.service(name) / "service.json"),
        "autostart": "true",
        "autorestart": "true",
        "startsecs": str(start_seconds),
        "startretries": str(_RETRIES),
        "stopsignal": "TERM",
        "stopasgroup": "false",
        "killasgroup": "true",
        "stopwaitsecs": str(stop_seconds + STOP_MARGIN),
        "redirect_stderr": "true",
        "stdout_logfile": str(layout.log(name)),
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": "3",
    }
    return _section(f"service-{name}", lines)


def job_conf(layout: Layout, name: str) -> str:
    """Section of a job: started once, on demand. Its wrapper writes the log itself, so a job outlives supervisord."""
    lines = {
        "command": _command(layout, "boxctl.runjob", layout.job(name)),
        "autostart": "false",
        "autorestart": "false",
        "startsecs": "0",
        "stopsignal": "TERM",
        "killasgroup": "true",
        "stopwaitsecs": "60",
        "redirect_stderr": "true",
        "stdout_logfile": str(layout.job(name) / "wrapper.log"),
        "stdout_logfile_maxbytes": "100KB",
        "stdout_logfile_backups": "0",
    }
    return _section(f"job-{name}", lines)


def place(layout: Layout, program: str, conf: str) -> bool:
    """Write a program's file; whether that changed it."""
    path = conf_path(layout, program)
    try:
        if path.read_text(encoding="utf-8") == conf:
            return False
    except FileNotFoundError:
        pass
    files.write(path, conf)
    return True


def conf_path(layout: Layout, program: str) -> Path:
    """The file of a program (`service-<name>` or `job-<name>`)."""
    return layout.confs / f"{program}.ini"


def _command(layout: Layout, module: str, argument: Path) -> str:
    # -P: a file `json.py` in the working directory is nobody's standard library; -s: nor is ~/.local.
    return shlex.join([str(layout.python), "-s", "-P", "-m", module, str(argument)])


def _section(program: str, lines: dict[str, str]) -> str:
    # supervisord expands `%(...)s`.
    body = "".join(f"{name} = {value.replace('%', '%%')}\n" for name, value in lines.items())
    return f"[program:{program}]\n{body}"
