"""`python -m cuda_toolkit [--prove]`: the job `cuda-<version>`. What is wanted is JSON in `$GPUBOX_CUDA_TOOLKIT`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import make_env

from cuda_toolkit import arrange, fetch
from cuda_toolkit.choose import Trouble, choose
from cuda_toolkit.look import look, nvcc_release


def main() -> int:
    """Have the toolkit that is asked for, or say in one line why not."""
    values = json.loads(os.environ["GPUBOX_CUDA_TOOLKIT"])
    request = fetch.Request(**{**values, "root": Path(values["root"])})
    progress = make_env.Progress(os.environ.get("GPUBOX_PROGRESS"))
    try:
        if "--prove" in sys.argv[1:]:
            prove(request, request.home)
        else:
            bring(request, progress)
    except (Trouble, OSError) as trouble:
        sys.stderr.write(f"error: {trouble}\n")
        return 1
    progress.tell(f"CUDA {request.version} is there", done=1, total=1, unit="compiler")
    return 0


def bring(request: fetch.Request, progress: make_env.Progress) -> None:
    """Choose, fetch, arrange, prove, and only then give it its name."""
    choice = choose(request.version, request.source, request.wheels, look())
    sys.stdout.write(f"CUDA {request.version} from: {choice.source} {choice.place}\n")
    if choice.source == "system":
        place = Path(choice.place)
    else:
        fetch.clear(request)
        request.build.mkdir(parents=True)
        if choice.source == "wheels":
            place = arrange.wheels(fetch.wheels(request, progress))
        else:
            place = arrange.conda(fetch.conda(request, choice.place, progress))
    progress.tell("compiling a small kernel")
    prove(request, place)
    request.home.parent.mkdir(parents=True, exist_ok=True)
    arrange.swap(request.home, place)


def prove(request: fetch.Request, place: Path) -> None:
    """The toolkit at `place` is of the wanted version and compiles. Raises `Trouble`."""
    release = nvcc_release(place)
    if release != request.version:
        raise Trouble(f"the nvcc in `{place}` says that it is {release or 'none'}, not {request.version}")
    with tempfile.TemporaryDirectory() as scratch:
        arrange.prove(place, request.version, request.archs, Path(scratch))


if __name__ == "__main__":
    sys.exit(main())
