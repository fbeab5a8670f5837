"""`gpubox --help` imports nothing heavy, and prints what the commands themselves say."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from gpubox.cli.group import COMMANDS, gpubox

HEAVY = {
    "ansible", "asyncssh", "cryptography", "fabric", "filelock", "httpx", "jinja2", "matplotlib", "numpy", "paramiko",
    "prompt_toolkit", "psutil", "pydantic", "rich", "sqlite3", "yaml",
}  # fmt: skip

PROBE = """
import json, sys
sys.argv = ["gpubox", *{argv!r}]
from gpubox.cli import main
try:
    main()
except SystemExit as end:
    code = end.code
print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["up", "--help"], ["help", "exit-codes"], ["chat", "-h"]])
def test_help_is_light(argv: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE.format(argv=argv)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert not loaded & HEAVY


@pytest.mark.parametrize(("name", "text"), [(n, t) for s in COMMANDS.values() for n, (_, t) in s.items()])
def test_the_table_says_what_the_command_says(name: str, text: str) -> None:
    command = gpubox.get_command(click.Context(gpubox), name)
    assert command is not None
    first = (command.help or "").split("\n\n")[0].replace("\n", " ")
    assert first == text or name == "help"
