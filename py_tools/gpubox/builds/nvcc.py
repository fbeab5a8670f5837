"""Which nvcc builds something on the box: the system's where it fits, else one that is put beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.builds.conflicts import Combination, clashes
from gpubox.builds.matrix import matrix
from gpubox.builds.plan import Nvcc, Refusal
from gpubox.builds.versions import minor, nearest

if TYPE_CHECKING:
    from gpubox.builds.machine import Machine


def choose(it: Machine, wanted: Combination) -> tuple[Nvcc | None, str, Refusal | None]:
    """The nvcc for what `wanted` compiles, and why that one; or None and the refusal.

    It has to be of torch's CUDA, both numbers: an older one leaves cards out, a newer one may fail on old sources.
    """
    passed: list[str] = []
    for version, path in _system(it):
        # The toolkit is good only when it goes with everything else.
        found = clashes(_with(wanted, version))
        if not found:
            return Nvcc(version, "system", path), "the box has it, and it is of torch's CUDA", None
        passed.append(found[0].message)
    row = next((row for row in matrix().nvcc if row.cuda == wanted.cuda), None)
    if row is None:
        known = ", ".join(sorted({row.cuda for row in matrix().nvcc}))
        other = nearest(wanted.cuda, (row.cuda for row in matrix().nvcc))
        return (
            None,
            "",
            Refusal(
                "nvcc",
                f"no nvcc of CUDA {wanted.cuda} to install is known (known: {known})",
                f"a torch of CUDA {other}, or an image that has CUDA {wanted.cuda}",
            ),
        )
    errors = [clash for clash in clashes(_with(wanted, row.cuda)) if clash.level == "error"]
    if errors:
        return None, "", Refusal(errors[0].rule, errors[0].message, errors[0].fix)
    source = f"conda's label {row.name}" if row.how == "conda" else f"`{row.name}` from PyPI"
    why = (
        f"the box's own will not do: {passed[0]}"
        if passed
        else ("the box has no nvcc" if it.known else "unless the box has one")
    )
    return Nvcc(row.cuda, row.how, row.name), f"{source}; {why}", None


def _system(it: Machine) -> list[tuple[str, str]]:
    found = {minor(version): path for version, path in it.toolkits if version}
    if it.nvcc:
        found.setdefault(minor(it.nvcc), "/usr/local/cuda")
    return sorted(found.items(), key=lambda item: item[0], reverse=True)


def _with(wanted: Combination, nvcc: str) -> Combination:
    # Only what the compiler has a part in; driver, glibc and the rest are judged with the whole environment.
    return Combination(
        packages=wanted.packages, cuda=wanted.cuda, compiles=True, gcc=wanted.gcc, nvcc=nvcc, archs=wanted.archs
    )
