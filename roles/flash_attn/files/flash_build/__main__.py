"""`python -m flash_build look|run|verify|remove`. What is wanted comes as JSON in `$GPUBOX_FLASH_ATTN`.

`look` prints `{"state": ...}` for the role; `run` is the job; `remove` prints `{"changed": ...}`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import make_env

from flash_build import indexes, machine
from flash_build.request import ALL, PACKAGE, Request, decide, find_kept, is_there
from flash_build.source import build, print_line, run_python, uv_install
from wheelhouse import house
from wheelhouse.check import RECORDS, Trouble, check, fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from flash_build.request import State
    from wheelhouse.check import Fingerprint


def main(arguments: list[str]) -> int:
    """One verb; 1 with one line on stderr when it cannot be done."""
    request = Request.read(os.environ["GPUBOX_FLASH_ATTN"])
    verbs = {"look": look, "run": run, "verify": verify, "remove": remove}
    try:
        verbs[arguments[0]](request)
    except (Trouble, OSError) as trouble:
        sys.stderr.write(f"error: {trouble}\n")
        return 1
    return 0


def look(request: Request) -> None:
    """Print what is to be done, and which CUDA its compiler has to be of."""
    now = fingerprint(request.environment)
    sys.stdout.write(json.dumps({"state": _state(request, now), "cuda": request.cuda or now.cuda}) + "\n")


def run(request: Request) -> None:
    """Have FlashAttention in the environment, proven by an import, and its wheel in the house."""
    progress = make_env.Progress(os.environ.get("GPUBOX_PROGRESS"))
    now = fingerprint(request.environment)
    state = _state(request, now)
    print_line(f"FlashAttention {request.version} for torch {now.torch}, CUDA {now.cuda}, ABI {now.abi}: {state}")
    if state != "installed":
        _bring(request, now, state, progress)
    _prove(request)
    progress.tell(f"FlashAttention {request.version} is in `{request.env_name}`", done=1, total=1, unit="package")


def verify(request: Request) -> None:
    """Raises `Trouble` unless it can be imported and is for what the environment holds."""
    for sentence in check(request.environment):
        raise Trouble(sentence)
    if house.recorded(request.environment, PACKAGE).get("version") != request.version:
        raise Trouble(f"FlashAttention {request.version} is not in `{request.environment}`: run the role `flash_attn`")
    _prove(request)


def remove(request: Request) -> None:
    """Take it out of the environment, and forget half-finished builds."""
    there = is_there(request.environment)
    if there:
        argv = [str(request.root / "controller/bin/uv"), "pip", "uninstall", "--python"]
        argv += [str(request.environment / "bin/python"), PACKAGE.replace("_", "-")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Trouble(
                f"FlashAttention cannot be taken out of `{request.environment}`: {done.stderr.strip()[-200:]}"
            )
    (request.environment / RECORDS / f"{PACKAGE}.json").unlink(missing_ok=True)
    builds = request.root / "builds" / PACKAGE
    left = builds.is_dir()
    shutil.rmtree(builds, ignore_errors=True)
    sys.stdout.write(json.dumps({"changed": there or left}) + "\n")


def _state(request: Request, now: Fingerprint) -> State:
    noted = house.recorded(request.environment, PACKAGE)
    return decide(request, now, noted, find_kept(request, now), there=is_there(request.environment))


def _bring(request: Request, now: Fingerprint, state: State, progress: make_env.Progress) -> None:
    """Get the wheel, put it into the environment, prove it, keep it, and note what it is for."""
    scratch: Path | None = None
    if state == "kept":
        wheel = find_kept(request, now)
        assert wheel is not None
        _install(request, request.house / wheel.key / wheel.file, progress)
    else:
        if state == "wheel":
            file, arch, origin = (
                _download(request, progress),
                ALL,
                indexes.shown(f"{request.wheel_base_url}/{request.wheel}"),
            )
        else:
            built = build(request, now, progress)
            file, arch, origin, scratch = built.wheel, request.archs, "built", built.place
            print_line(f"the largest compiler took {built.peak / machine.GIB:.2f} GiB")
        _install(request, file, progress)
        _prove(request)
        wheel = house.keep(request.house, file, PACKAGE, request.version, now, arch, origin)
    house.record(request.environment, wheel)
    if scratch is not None:
        # 300 MB of objects; before the wheel is kept they are hours of work.
        shutil.rmtree(scratch)


def _download(request: Request, progress: make_env.Progress) -> Path:
    target = request.root / "cache" / "wheels" / request.wheel

    def tell(have: int, total: int) -> None:
        progress.tell(f"fetching {request.wheel}", done=have, total=total, unit="B")

    url = f"{request.wheel_base_url}/{request.wheel.replace('+', '%2B')}"
    if not target.exists():
        try:
            indexes.download(url, target, "", tell)
        except (OSError, Trouble) as error:
            raise Trouble(
                f"`{request.wheel}` cannot be fetched ({error}): set `flash_attn_wheel_base_url` to a mirror "
                "of the project's releases, or `flash_attn.build: source` to compile it"
            ) from error
    return target


def _install(request: Request, file: Path, progress: make_env.Progress) -> None:
    progress.tell("installing FlashAttention")
    python = ["--python", str(request.environment / "bin/python")]
    uv_install(request, [*python, "--no-deps", "--reinstall-package", "flash-attn", str(file)], progress)
    site = next(request.environment.glob("lib/python3.*/site-packages"))
    missing = [need for need in request.requires if not any(site.glob(f"{need.partition('=')[0]}-*.dist-info"))]
    if missing:
        uv_install(request, [*python, "--no-deps", *missing], progress)


def _prove(request: Request) -> None:
    """The extension can be loaded: that fails with `undefined symbol` when it was built for another torch."""
    done = run_python(request, f"import {', '.join(request.imports)}")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Trouble(f"FlashAttention is installed in `{request.environment}`, but cannot be imported: {last}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
