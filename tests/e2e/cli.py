"""The command line as a person uses it: a process of its own, an empty HOME, a working directory."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from waits import until

if TYPE_CHECKING:
    from collections.abc import Callable

# Two slow cores, shared: nothing here is a measure of speed, in seconds.
LONG = 1500.0


class Gpubox:
    """`gpubox` with its own HOME below `directory`, run in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GPUBOX_", "XDG_"))}
        self.env = {**kept, "HOME": str(self.home), "NO_COLOR": "1"}
        self._clients: list[subprocess.Popen[str]] = []
        self._cleaner = subprocess.Popen(
            [sys.executable, "-S", str(Path(__file__).with_name("cleaner.py"))],
            stdin=subprocess.PIPE,
            cwd=directory,
            env=self.env,
            start_new_session=True,
        )

    def __call__(
        self, *args: str, stdin: str = "", code: int | None = 0, timeout: float = LONG
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; fails unless it ends with `code` (None: any)."""
        done = subprocess.run(
            self.argv(*args),
            input=stdin,
            text=True,
            capture_output=True,
            timeout=timeout,
            cwd=self.directory,
            env=self.env,
            check=False,
        )
        said = f"`gpubox {' '.join(args)}` ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert code is None or done.returncode == code, said
        assert "Traceback" not in done.stderr, said
        return done

    def json(self, *args: str) -> Any:  # noqa: ANN401 - JSON is what it is
        """Run a command with `--json` and read what it says."""
        return json.loads(self(*args, "--json").stdout)

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start a command in a session of its own; its stderr goes to `stderr-of`'s file."""
        with self._stderr(args).open("w") as stderr:
            client = subprocess.Popen(
                self.argv(*args),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=self.directory,
                env=self.env,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - the threads of a test are at rest
            )
        self._clients.append(client)
        return client

    def stderr_of(self, *args: str) -> str:
        """What a started command has said on stderr so far."""
        return self._stderr(args).read_text()

    def until(self, client: subprocess.Popen[str], words: str, *args: str) -> None:
        """Wait until the started command says `words` on stderr; fails with what it said when it ends without."""

        def said() -> bool:
            ended = client.poll() is not None
            found = words in self.stderr_of(*args)
            assert found or not ended, f"ended without a word of `{words}`:\n{self.stderr_of(*args)}"
            return found

        # Steps may be short: whoever wants to be in the middle of one has to be quick.
        wait_for(words, said, pause=0.005)

    def box_file(self, name: str, text: str) -> Path:
        """Write `boxes/<name>.yml`."""
        path = self.directory / "boxes" / f"{name}.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def end_clients(self) -> None:
        """End what was started and still runs, and every tunnel."""
        for client in self._clients:
            if client.poll() is None:
                os.killpg(client.pid, signal.SIGKILL)
            client.communicate()
        self._clients.clear()
        self("tunnel", "--stop")

    def end(self) -> None:
        """End everything that this HOME has running in the background, boxes of this machine included."""
        self.end_clients()
        self._cleaner.communicate(timeout=LONG)

    def _stderr(self, args: tuple[str, ...]) -> Path:
        return self.directory / ("stderr-" + "-".join(args).replace("/", "_"))

    @staticmethod
    def argv(*args: str) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", "gpubox", *args]


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def wait_for(what: str, condition: Callable[[], object], timeout: float = 300.0, pause: float = 0.1) -> None:
    """Wait until `condition` holds; fails naming `what` after `timeout` seconds."""
    until(condition, what, timeout, pause=pause)
