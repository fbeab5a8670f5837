"""Run in an environment with sglang-kt's wheel and nothing else: its own parser reads command lines.

`python kt_parse.py` takes JSON (a list of lists of words) on stdin and prints, for each, what the parser made of it, or
why it refused. Everything that `server_args` imports besides the standard library is an empty stand-in (SGLang's
dependencies are 10 GB with CUDA); the parser itself is the wheel's.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import io
import json
import site
import sys
import types
from typing import TYPE_CHECKING
from unittest.mock import MagicMock

if TYPE_CHECKING:
    from collections.abc import Sequence

REAL = {"sglang.srt.server_args", "sglang.srt.environ", "sglang.srt.server_args_config_parser"}


class Absent(types.ModuleType):
    """Has every name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> MagicMock:
        if name.startswith("__"):
            raise AttributeError(name)
        found = MagicMock(name=name)
        setattr(self, name, found)
        return found


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stand-ins for all modules but the standard library's and those under test."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """None for what is real."""
        top = fullname.partition(".")[0]
        if fullname in REAL or top == "yaml" or top in sys.stdlib_module_names:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """An empty one."""
        return Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to do."""


def main() -> None:
    """Parse every command line."""
    for name in ("sglang", "sglang.srt"):
        package = types.ModuleType(name)
        package.__path__ = [f"{site.getsitepackages()[0]}/{name.replace('.', '/')}"]
        sys.modules[name] = package
    sys.meta_path.insert(0, Finder())
    arguments = importlib.import_module("sglang.srt.server_args")
    files = importlib.import_module("sglang.srt.server_args_config_parser")

    parser = argparse.ArgumentParser(exit_on_error=False)
    arguments.ServerArgs.add_cli_args(parser)
    answers = []
    for words in json.load(sys.stdin):
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                parsed = vars(parser.parse_args(files.ConfigArgumentMerger(parser).merge_config_with_args(words)))
            answers.append({name: value for name, value in parsed.items() if isinstance(value, str | int | float)})
        except (SystemExit, argparse.ArgumentError) as error:
            answers.append({"refused": said.getvalue() or str(error)})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
