"""Whether an environment is still what its compiled extensions were built for.

In the environment it runs by itself when a service's Python starts (`at_start`); for other programs there is
`check.py ENVIRONMENT -- PROGRAM...`, which becomes PROGRAM when all is well.

A compiled extension works with the torch that it was built for and with no other; with another it fails with `undefined
symbol`, or worse, does not. Nothing is imported: three files of the environment say it all, in some milliseconds.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RECORDS = ".gpubox-wheels"


class Trouble(Exception):
    """What went wrong, in one line for people."""


@dataclass(frozen=True)
class Fingerprint:
    """What a compiled extension needs: `torch` "2.8.0", `cuda` "12.8" or "none", `abi` "TRUE", `python` "cp312"."""

    torch: str
    cuda: str
    abi: str
    python: str
    machine: str


def fingerprint(environment: Path) -> Fingerprint:
    """Of an environment, read from its files. Raises `Trouble` when it is none or has no torch."""
    site = next(iter(sorted(environment.glob("lib/python3.*/site-packages"))), None)
    if site is None:
        raise Trouble(f"`{environment}` is no Python environment")
    try:
        text = (site / "torch/version.py").read_text(encoding="utf-8")
    except OSError as error:
        raise Trouble(f"there is no torch in `{environment}`") from error
    version = re.search(r"^__version__\s*=\s*'([^'+]+)", text, re.MULTILINE)
    if version is None:
        raise Trouble(f"`{site}/torch/version.py` names no version")
    cuda = re.search(r"^cuda\b[^=]*=\s*'([^']+)'", text, re.MULTILINE)
    return Fingerprint(
        torch=version[1],
        cuda=cuda[1] if cuda else "none",
        abi=_abi(site),
        python=site.parent.name.replace("python3.", "cp3"),
        machine=platform.machine(),
    )


def differences(built_for: dict[str, Any], now: Fingerprint) -> list[str]:
    """What changed since, as "torch 2.8.0 -> 2.9.1". torch's third number and CUDA's may change (upstream's wheels
    are named without them)."""
    found = []
    for name, value in asdict(now).items():
        before = str(built_for.get(name, ""))
        parts = 2 if name in {"torch", "cuda"} else 9
        if before.split(".")[:parts] != value.split(".")[:parts]:
            found.append(f"{name} {before or 'unknown'} -> {value}")
    return found


def check(environment: Path) -> list[str]:
    """One sentence for each extension of the environment that was built for another one."""
    records = sorted((environment / RECORDS).glob("*.json"))
    if not records:
        return []
    now = fingerprint(environment)
    sentences = []
    for path in records:
        record = json.loads(path.read_text(encoding="utf-8"))
        if changed := differences(record, now):
            name = f"{record['package']} {record['version']}"
            sentences.append(f"{name} in `{environment}` was built for another environment: {', '.join(changed)}")
    return sentences


def at_start() -> None:
    """For the line in site-packages: ends this Python unless its environment is what it was."""
    if not _says_yes(Path(sys.prefix)):
        sys.stderr.flush()
        # Not an exception: so early Python would print its own troubles about it.
        os._exit(1)


def main(arguments: list[str]) -> int:
    """The check, then the program, which gets this process."""
    program = arguments[arguments.index("--") + 1 :]
    if _says_yes(Path(arguments[0])):
        os.execvp(program[0], program)  # noqa: S606 - the service's own argv
    return 1


def _says_yes(environment: Path) -> bool:
    try:
        sentences = check(environment)
    except (Trouble, OSError, ValueError) as error:
        sentences = [f"what `{environment}` was built for cannot be read: {error}"]
    for sentence in sentences:
        sys.stderr.write(f"error: {sentence}\n")
    if sentences:
        sys.stderr.write("hint: `gpubox up NAME --full` builds it for what is there now\n")
    return not sentences


def _abi(site: Path) -> str:
    """How torch was compiled: "TRUE" or "FALSE" (_GLIBCXX_USE_CXX11_ABI)."""
    try:
        text = (site / "torch/share/cmake/Torch/TorchConfig.cmake").read_text(encoding="utf-8")
    except OSError:
        return "TRUE"
    found = re.search(r"_GLIBCXX_USE_CXX11_ABI=(\d)", text)
    # Newer torch (2.13 looked at) says nothing there any more: it has no other ABI than the new one.
    return "FALSE" if found and found[1] == "0" else "TRUE"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
