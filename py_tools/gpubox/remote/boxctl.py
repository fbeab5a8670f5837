"""The laptop's side of `boxctl`, the program that looks after a box from the inside (docs/architecture.md)."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from gpubox.errors import RemoteCommandFailed
from gpubox.remote.host import Result, failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.remote.host import Host

# The shell's codes for "not found" and "found, but cannot be run".
_MISSING = {126, 127}
_LAST_WORDS = 20


class Boxctl:
    """`boxctl` of the box whose things lie under `root`, over an open `Host`."""

    def __init__(self, host: Host, root: str) -> None:
        self._host = host
        self._root = root

    def call(
        self, *arguments: str, stdin: bytes | None = None, timeout: float = 60.0, retry: bool = False
    ) -> dict[str, Any]:
        """Run one command and return the JSON object that it prints.

        `retry`: safe to run twice, see `Host.run`. Raises `RemoteCommandFailed` with boxctl's own words.
        """
        result = self._host.run(self._command(arguments), stdin=stdin, timeout=timeout, check=False, retry=retry)
        answer = _object(result.stdout)
        if result.exit_code == 0 and answer is not None:
            return answer
        raise self._error(arguments, result, answer)

    def stream(self, *arguments: str, on_line: Callable[[str], None], silence: float = 15.0) -> None:
        """Run one command and hand over each line of its stdout as it comes.

        Raises `LinkLost` after `silence` seconds without a line, `RemoteCommandFailed` when it ends badly.
        """
        out: list[str] = []
        err: list[str] = []

        def take(line: str) -> None:
            _keep(out, line)
            on_line(line)

        code = self._host.stream(
            self._command(arguments), take, silence=silence, on_error_line=lambda line: _keep(err, line)
        )
        if code != 0:
            last = out[-1] if out else ""
            raise self._error(arguments, Result(code, "", "\n".join(err)), _object(last))

    def _command(self, arguments: tuple[str, ...]) -> str:
        return shlex.join([f"{self._root}/bin/boxctl", *arguments])

    def _error(self, arguments: tuple[str, ...], result: Result, answer: dict[str, Any] | None) -> RemoteCommandFailed:
        name = self._host.login.name
        if result.exit_code in _MISSING:
            return RemoteCommandFailed(
                f"gpubox is not set up on the box (no `{self._root}/bin/boxctl`)", where=name, hint=f"gpubox up {name}"
            )
        if answer is not None and answer.get("error"):
            hint = answer.get("hint")
            return RemoteCommandFailed(str(answer["error"]), where=name, hint=str(hint) if hint else None)
        command = shlex.join(["boxctl", *arguments])
        if result.exit_code == 0:
            said = result.stdout.strip()[:200]
            return RemoteCommandFailed(
                f"`{command}` answered no JSON object: {said!r}",
                where=name,
                hint=f"`gpubox up {name} --full` renews what gpubox has put on the box",
            )
        return failed(name, command, result)


def _object(text: str) -> dict[str, Any] | None:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def _keep(lines: list[str], line: str) -> None:
    lines.append(line)
    del lines[:-_LAST_WORDS]
