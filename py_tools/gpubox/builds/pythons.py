"""Which Python an environment gets, and whether it brings a libstdc++ of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.builds.versions import Version, minor, numbers

if TYPE_CHECKING:
    from gpubox.boxfile import BoxFile
    from gpubox.remote.facts import Facts, Python

# What roles/supervisor/files/bootstrap.sh takes for the controller environment, and what it fetches.
CONTROLLER_PYTHON: Version = (3, 11)
CONTROLLER_PYTHON_LAST: Version = (3, 13)
_FETCHED = "3.11"


def controller_python(facts: Facts) -> Python | None:
    """The interpreter to make the controller environment from: a whole one first; None when none will do."""
    fit = [
        python
        for python in facts.pythons
        if python.venv and CONTROLLER_PYTHON <= python.release[:2] <= CONTROLLER_PYTHON_LAST
    ]
    return max(fit, key=lambda python: (python.ensurepip, python.pip), default=None)


def environment_python(facts: Facts | None, box: BoxFile) -> tuple[str, str]:
    """The Python (as in "3.12") of environments whose role names none, and why."""
    if box.python_env.python is not None:
        return minor(box.python_env.python), "the box file says so"
    found = controller_python(facts) if facts is not None else None
    if found is not None:
        return minor(found.version), f"`{found.path}` on the box"
    return (
        _FETCHED,
        "fetched: the box has none from 3.11 to 3.13" if facts is not None else "unless the box has another",
    )


def conda_brings(facts: Facts, python: str) -> bool:
    """Whether an environment with that Python is made from conda's interpreter, and so loads conda's libstdc++.

    The interpreter's own library path comes before the system's (its RPATH), in a venv of it, too.
    """
    if not facts.conda:
        return False
    prefix = facts.conda.rsplit("/bin/", 1)[0].rsplit("/condabin/", 1)[0] + "/"
    same = [found for found in facts.pythons if found.release[:2] == numbers(python)[:2]]
    return bool(same) and all(found.path.startswith(prefix) for found in same)
