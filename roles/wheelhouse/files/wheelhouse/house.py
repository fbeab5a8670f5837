"""The wheelhouse: `<house>/<key>/` holds one wheel and `wheel.json`, which says what it was built for.

A directory that has its name is whole: it is made beside its place and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from wheelhouse.check import RECORDS, Fingerprint, Trouble

ABOUT = "wheel.json"
# Python runs such a line of site-packages at each start. Only services carry the mark (boxctl sets it): whoever mends
# the environment is not kept out of it.
_CHECK = "_gpubox_wheel_check"
_LINE = f'import os; os.environ.get("GPUBOX_SERVICE") and __import__("{_CHECK}").at_start()\n'


@dataclass(frozen=True)
class Wheel:
    """A wheel that is kept. `arch`: GPU architectures ("80" or "80;90"); `origin`: "built" or where it came from;
    `variant`: what else changes the binary, the CPU that it is for and options of its build."""

    package: str
    version: str
    torch: str
    cuda: str
    abi: str
    python: str
    machine: str
    arch: str
    file: str
    sha256: str
    origin: str
    variant: str = ""

    @property
    def key(self) -> str:
        """The name of its directory."""
        fingerprint = Fingerprint(self.torch, self.cuda, self.abi, self.python, self.machine)
        return key_of(self.package, self.version, fingerprint, self.arch, self.variant)


def key_of(package: str, version: str, built_for: Fingerprint, arch: str, variant: str = "") -> str:
    """Name of the directory of what was built for an environment. torch without its third number, as in upstream's
    wheel names; CUDA with its second, since what was compiled by one minor version may need its runtime."""
    torch = ".".join(built_for.torch.split(".")[:2])
    words = [package, version, f"torch{torch}", f"cu{built_for.cuda}", f"abi{built_for.abi}", built_for.python]
    return "-".join([*words, built_for.machine, "sm" + arch.replace(";", "_"), *([variant] if variant else [])])


def keep(
    house: Path,
    source: Path,
    package: str,
    version: str,
    built_for: Fingerprint,
    arch: str,
    origin: str,
    variant: str = "",
) -> Wheel:
    """Copy a wheel into the house. One of the same key is replaced."""
    wheel = Wheel(
        package=package, version=version, arch=arch, file=source.name, sha256=sha256(source), origin=origin,
        variant=variant, **asdict(built_for),
    )  # fmt: skip
    place, partial = house / wheel.key, house / f".{wheel.key}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    shutil.copyfile(source, partial / source.name)
    (partial / ABOUT).write_text(json.dumps(asdict(wheel), indent=1) + "\n", encoding="utf-8")
    _flush(partial / source.name, partial / ABOUT)
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)
    return wheel


def find(house: Path, key: str) -> Wheel | None:
    """The wheel of this key; None when there is none. Raises `Trouble` when it is not what it was."""
    try:
        wheel = Wheel(**json.loads((house / key / ABOUT).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise Trouble(f"`{house / key / ABOUT}` cannot be read ({error}); remove `{house / key}`") from error
    try:
        same = sha256(house / key / wheel.file) == wheel.sha256
    except FileNotFoundError:
        same = False
    if not same:
        raise Trouble(
            f"`{house / key / wheel.file}` is not what was kept (its SHA-256 differs); remove `{house / key}`"
        )
    return wheel


def rotten(house: Path) -> list[str]:
    """A sentence for each wheel that is not what it was."""
    found = []
    for about in sorted(house.glob(f"*/{ABOUT}")):
        try:
            find(house, about.parent.name)
        except Trouble as trouble:
            found.append(str(trouble))
    return found


def record(environment: Path, wheel: Wheel) -> None:
    """Note in the environment what it was given, and have every service that starts from it compare."""
    place = environment / RECORDS
    place.mkdir(exist_ok=True)
    beside = place / f".{wheel.package}.partial"
    beside.write_text(json.dumps({**asdict(wheel), "key": wheel.key}, indent=1) + "\n", encoding="utf-8")
    beside.replace(place / f"{wheel.package}.json")
    for site in environment.glob("lib/python3.*/site-packages"):
        shutil.copyfile(Path(__file__).with_name("check.py"), site / f"{_CHECK}.py")
        (site / f"{_CHECK}.pth").write_text(_LINE, encoding="utf-8")


def recorded(environment: Path, package: str) -> dict[str, str]:
    """What was noted of a package; empty when nothing was."""
    try:
        found: dict[str, str] = json.loads((environment / RECORDS / f"{package}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def sha256(path: Path) -> str:
    """Of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(*paths: Path) -> None:
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
