"""`python -m model_fetch plan|fetch|verify`; the spec is JSON: on stdin (`--spec -`), or in GPUBOX_MODEL_SPEC."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from model_fetch import spec as specs
from model_fetch.errors import Asked, Trouble


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    parser = argparse.ArgumentParser(prog="model_fetch")
    parser.add_argument("command", choices=("plan", "fetch", "verify"))
    parser.add_argument("--spec", choices=("-", "env"), default="env", help="where the JSON is: stdin, or the variable")
    parser.add_argument("--full", action="store_true", help="verify: compare checksums, not only sizes")
    wanted = parser.parse_args(arguments)
    try:
        return _run(wanted.command, _spec(wanted.spec), full=wanted.full)
    except Trouble as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except OSError as error:
        where = f": `{error.filename}`" if error.filename else ""
        sys.stderr.write(f"{error.strerror or error}{where}\n")
        return 1


def _run(command: str, given: Any, *, full: bool) -> int:  # noqa: ANN401  # JSON
    several = given if isinstance(given, list) else [given]
    wanted = [specs.from_json(item) for item in several]
    if command == "plan":
        from model_fetch import commands

        plans = commands.plans(wanted)
        sys.stdout.write(json.dumps(plans if isinstance(given, list) else plans[0], ensure_ascii=False) + "\n")
    elif command == "verify":
        from model_fetch import commands

        commands.verify(wanted, full=full)
    else:
        from model_fetch import fetch

        for spec in wanted:
            fetch.fetch(spec)
    return 0


def _spec(where: str) -> Any:  # noqa: ANN401  # JSON
    text = sys.stdin.read() if where == "-" else os.environ.get("GPUBOX_MODEL_SPEC", "")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    items = found if isinstance(found, list) else [found]
    if not items or not all(isinstance(item, dict) for item in items):
        raise Asked("the spec is no JSON object", "it comes on stdin (`--spec -`) or in GPUBOX_MODEL_SPEC")
    return found


if __name__ == "__main__":
    sys.exit(main())
