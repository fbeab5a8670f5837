"""`python -m wheelhouse`: what roles and jobs that build something call. One JSON object on stdout; words on stderr."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from wheelhouse import house
from wheelhouse.check import Trouble, fingerprint

if TYPE_CHECKING:
    from wheelhouse.house import Wheel


def main(arguments: list[str]) -> int:
    """Keep, find, install or verify; 1 with one line on stderr when it cannot be done."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.do == "verify":
            return _verify(asked.root / "wheelhouse")
        wheel = _carry_out(asked)
    except (Trouble, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(json.dumps({**asdict(wheel), "key": wheel.key} if wheel else None) + "\n")
    return 0


def install(root: Path, environment: Path, wheel: Wheel) -> None:
    """Put a kept wheel into an environment, without what it requires, and note it there. Raises `Trouble`."""
    file = root / "wheelhouse" / wheel.key / wheel.file
    argv = [str(root / "controller/bin/uv"), "pip", "install", "--python", str(environment / "bin/python")]
    argv += ["--no-deps", "--no-index", "--reinstall", str(file)]
    settings = {**os.environ, "UV_CACHE_DIR": str(root / "cache/uv"), "NO_COLOR": "1"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=settings)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["uv said nothing"])[-1].strip()
        raise Trouble(f"`{wheel.file}` cannot be installed into `{environment}`: {last}")
    house.record(environment, wheel)


def _carry_out(asked: argparse.Namespace) -> Wheel | None:
    """Keep, find or install; None when there was nothing to be found."""
    place, environment = asked.root / "wheelhouse", asked.root / "envs" / asked.env
    built_for = fingerprint(environment)
    if asked.do == "keep":
        return house.keep(place, asked.wheel, asked.package, asked.version, built_for, asked.arch, "built")
    key = house.key_of(asked.package, asked.version, built_for, asked.arch)
    wheel = house.find(place, key)
    if asked.do == "install":
        if wheel is None:
            raise Trouble(f"there is no wheel `{key}` in `{place}`")
        install(asked.root, environment, wheel)
    return wheel


def _verify(place: Path) -> int:
    bad = house.rotten(place)
    for sentence in bad:
        sys.stderr.write(f"error: {sentence}\n")
    sys.stdout.write(json.dumps({"rotten": len(bad)}) + "\n")
    return 1 if bad else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wheelhouse")
    parser.add_argument("--root", type=Path, required=True)
    verbs = parser.add_subparsers(dest="do", required=True)
    verbs.add_parser("verify")
    for verb in ("keep", "find", "install"):
        sub = verbs.add_parser(verb)
        for option in ("--env", "--package", "--version", "--arch"):
            sub.add_argument(option, required=True)
        if verb == "keep":
            sub.add_argument("wheel", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
