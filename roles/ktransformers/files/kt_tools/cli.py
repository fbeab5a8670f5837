"""`python -m kt_tools machine|source|build|convert|gguf|numa|verify|launch`: one command each, errors on one line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from . import build, convert, gguf, launch, machine, numa, source
from .errors import Trouble
from .progress import Progress


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0, or 1 with one line on stderr."""
    words = sys.argv[1:] if argv is None else argv
    command: list[str] = []
    if "--" in words:
        cut = words.index("--")
        words, command = words[:cut], words[cut + 1 :]
    arguments = _parser().parse_args(words)
    told = os.environ.get("GPUBOX_PROGRESS")
    progress = Progress(Path(told) if told else None)
    try:
        _run(arguments, command, progress)
    except Trouble as trouble:
        sys.stderr.write(f"error: {trouble}\n")
        return 1
    return 0


def _run(arguments: argparse.Namespace, command: list[str], progress: Progress) -> None:
    match arguments.command:
        case "machine":
            sys.stdout.write(json.dumps(machine.read().as_dict()) + "\n")
        case "source":
            source.fetch(source.Wish.read(os.environ["GPUBOX_KTRANSFORMERS"]), progress)
        case "build":
            build.run(build.Wish.read(os.environ["GPUBOX_KTRANSFORMERS"]), progress)
        case "convert":
            convert.run(convert.Wish.read(os.environ["GPUBOX_KTRANSFORMERS"]), progress)
        case "gguf":
            found = gguf.look(arguments.weights)
            sys.stdout.write(json.dumps({"bytes": found.bytes, "files": found.files}) + "\n")
        case "numa":
            words = numa.look(arguments.root, arguments.service, machine.read().nodes, copies=arguments.copies)
            sys.stdout.write(f"{words}\n" if words else "")
        case "verify":
            launch.check(arguments.env, built=arguments.built, weights=arguments.weights)
        case "launch":
            launch.check(arguments.env, built=arguments.built, weights=arguments.weights)
            launch.become(command, arguments.keep_library_path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kt_tools")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("machine", "source", "build", "convert"):
        commands.add_parser(name)
    commands.add_parser("gguf").add_argument("weights", type=Path)
    looking = commands.add_parser("numa")
    looking.add_argument("--root", type=Path, required=True)
    looking.add_argument("--service", required=True)
    looking.add_argument("--copies", action="store_true", help="it was built to keep the experts on every node")
    for name in ("verify", "launch"):
        command = commands.add_parser(name)
        command.add_argument("--env", type=Path, required=True)
        command.add_argument("--built", action="store_true", help="the environment holds what `build` made")
        command.add_argument("--weights", type=Path)
        command.add_argument("--keep-library-path", action="store_true")
    return parser
