"""A conversation with `webui_box`, the web UI's own program, on a box or on this machine (for a backup).

It travels along with every call, so that a box that was set up by an older gpubox understands it, too.
"""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
import tempfile
import zipfile
from typing import TYPE_CHECKING, Any

from gpubox import paths
from gpubox.errors import Failed, RemoteCommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gpubox.remote.host import Host

# Takes so many bytes of stdin for a zip file with the program; the rest of stdin is the program's own.
_BOOT = (
    "import runpy,sys,tempfile;n=int(sys.argv.pop(1));f=tempfile.NamedTemporaryFile(suffix='.zip');"
    "f.write(sys.stdin.buffer.read(n));f.flush();sys.path.insert(0,f.name);"
    "runpy.run_module('webui_box',run_name='__main__',alter_sys=True)"
)
# Seconds without a sign of life: a slow disk may have to read a long chat, and open-webui to write one.
_SILENCE = 330.0
_MISSING = {126, 127}
_LINE = 60_000


def on_box(
    host: Host,
    root: str,
    words: list[str],
    on_record: Callable[[dict[str, Any]], None],
    given: Iterable[dict[str, Any]] = (),
) -> None:
    """Run `webui_box WORDS` on the box; every record that it writes goes to `on_record`, `given` is what it reads.

    Raises `RemoteCommandFailed` with its own words, and what `Host.stream` raises.
    """
    name, program = host.login.name, _program()
    errors: list[str] = []
    line = shlex.join([f"{root}/controller/bin/python", "-I", "-c", _BOOT, str(len(program)), *words])
    records = Records(on_record)
    code = host.stream(
        line,
        records.feed,
        stdin=program + b"".join(_encoded(given)),
        silence=_SILENCE,
        on_error_line=errors.append,
    )
    if code in _MISSING:
        raise RemoteCommandFailed("there is no web UI on this box", where=name, hint=f"gpubox up {name}")
    if code != 0:
        raise RemoteCommandFailed(_words(errors), where=name, hint=f"`gpubox status {name}` shows how the web UI is")


def here(words: list[str], on_record: Callable[[dict[str, Any]], None]) -> None:
    """The same on this machine. Raises `Failed` with its own words."""
    program = _program()
    argv = [sys.executable, "-I", "-c", _BOOT, str(len(program)), *words]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                child.stdin.write(program)
                child.stdin.close()
                records = Records(on_record)
                for line in child.stdout:
                    records.feed(line.decode("ascii", errors="replace").rstrip("\n"))
            except BaseException:
                child.kill()
                raise
        if child.returncode != 0:
            errors.seek(0)
            raise Failed(_words(errors.read().splitlines()))


class Records:
    """Lines of `webui_box.records` in, whole objects out."""

    def __init__(self, on_record: Callable[[dict[str, Any]], None]) -> None:
        self._on_record = on_record
        self._parts: list[str] = []

    def feed(self, line: str) -> None:
        """Take one line, without its newline. Raises `Failed` for one that is none of ours."""
        mark, part = line[:1], line[1:]
        if mark not in {"+", "="}:
            raise Failed(f"the web UI's program said something that is no record: {line[:200]!r}")
        self._parts.append(part)
        if mark == "=":
            text = "".join(self._parts)
            self._parts.clear()
            self._on_record(json.loads(text))


def encoded(record: dict[str, Any]) -> bytes:
    """One object as lines of `webui_box.records`."""
    text = json.dumps(record, separators=(",", ":"))
    ends = range(0, len(text), _LINE)
    marked = (f"{'=' if at + _LINE >= len(text) else '+'}{text[at : at + _LINE]}\n" for at in ends)
    return "".join(marked).encode("ascii")


def _encoded(given: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    return (encoded(record) for record in given)


def _program() -> bytes:
    """The package as a zip file."""
    made = io.BytesIO()
    source = paths.content() / "roles" / "open_webui" / "files" / "webui_box"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(source.glob("*.py")):
            archive.writestr(f"webui_box/{file.name}", file.read_bytes())
    return made.getvalue()


def _words(errors: list[str]) -> str:
    """Its own sentence; what else stands on stderr (a shell's greeting) only when there is none."""
    said = [line.removeprefix("error: ") for line in errors if line.startswith("error: ")]
    return said[-1] if said else "\n".join(["the web UI's program failed:", *errors[-5:]])
