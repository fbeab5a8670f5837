"""KTransformers: the classic sources at a tag with their torch, nvcc and flash-attn, or today's wheels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpubox.builds.conflicts import GLIBCXX_OF_GCC
from gpubox.builds.matrix import matrix
from gpubox.builds.plan import Environment, Step
from gpubox.builds.pythons import conda_brings
from gpubox.builds.versions import minor, nearest, numbers, within

if TYPE_CHECKING:
    from gpubox.boxfile import BoxFile
    from gpubox.builds.draft import Draft
    from gpubox.builds.matrix import Ktransformers
    from gpubox.remote.facts import Facts

NAME = "ktransformers"


def decide(draft: Draft, facts: Facts | None, box: BoxFile) -> None:
    """Everything about `engine: ktransformers`."""
    section = box.ktransformers
    if section is None:
        return
    rows = [row for row in matrix().ktransformers if row.recipe == section.recipe]
    wanted = (section.version or rows[0].version).removeprefix("v")
    row = next((row for row in rows if row.version == wanted), None)
    if row is None:
        _unknown(draft, wanted, section.recipe)
        return
    python = minor(box.python_env.python) if box.python_env.python else row.prefer
    why = "the box file says so" if section.version else "the newest of this recipe that gpubox knows"
    draft.row("KTransformers", f"{row.version} ({row.recipe})", why)
    draft.row("torch", f"{row.torch} (CUDA {row.cuda})", _torch_why(row))
    draft.row("Python", python, "the box file says so" if box.python_env.python else _python_why(row))
    torch = matrix().torch_row(row.torch)
    environment = Environment(
        NAME,
        python,
        _requirements(row),
        torch=row.torch,
        cuda=row.cuda,
        abi=torch.abi[row.cuda],
        index_url=matrix().index_url(row.torch, row.cuda),
    )
    draft.environments.append(environment)
    draft.choices |= {"recipe": row.recipe, "version": row.version}
    _cards(draft, row)
    if row.recipe == "classic" and not within(python, row.python):
        message = (
            f"KTransformers {row.version} is built with Python {row.python[0]} to {row.python[1]}, not with {python}"
        )
        draft.refuse("python", message, f'`python_env.python: "{row.prefer}"`')
    combination = draft.combination(_packages(row), environment, row.glibc)
    combination = replace(
        combination,
        libstdcxx=_libstdcxx(draft, facts, python),
        needs_glibcxx=_needed(draft, row),
    )
    draft.judge(combination)
    _recipe_fix(draft, row)
    if row.recipe == "classic":
        _classic(draft, facts, box, environment)
    else:
        draft.download(
            "environment of KTransformers", "ktransformers-current", matrix().estimate("cuda-disk"), "wheels"
        )
        if box.flash_attn is not None:
            draft.add_flash_attn(environment, box.flash_attn)
            if draft.flash is not None and draft.flash.build == "source":
                draft.add_nvcc(replace(combination, compiles=True, archs=draft.flash.archs), "flash-attn")


def _classic(draft: Draft, facts: Facts | None, box: BoxFile, environment: Environment) -> None:
    row = next(row for row in matrix().ktransformers if row.version == draft.choices["version"])
    draft.download("environment of KTransformers", "ktransformers-classic", 9e9, "torch and what the tag requires")
    draft.add_flash_attn(environment, box.flash_attn, row.flash_attn)
    combination = draft.combination(_packages(row), environment, row.glibc)
    cmake = facts.compilers.cmake if facts is not None else None
    if cmake and numbers(cmake) < (3, 25):
        draft.row("cmake", "from PyPI", f"the box's {cmake} does not know CUDA20; KTransformers needs 3.25 or newer")
    archs = draft.flash.archs if draft.flash is not None else draft.it.archs
    draft.add_nvcc(replace(combination, compiles=True, archs=archs), "KTransformers' sources")
    draft.steps.append(Step("build KTransformers", None, 0, 1e9, "not measured; it depends on the CPUs"))


def _unknown(draft: Draft, wanted: str, recipe: str) -> None:
    known = [row.version for row in matrix().ktransformers if row.recipe == recipe]
    elsewhere = next((row for row in matrix().ktransformers if row.version == wanted), None)
    if elsewhere is not None:
        fix = f"`ktransformers.recipe: {elsewhere.recipe}`"
    else:
        fix = f'`ktransformers.version: "{nearest(wanted, known)}"` (known: {", ".join(known)})'
    draft.refuse("ktransformers", f"KTransformers {wanted} is not known for the recipe `{recipe}`", fix)


def _requirements(row: Ktransformers) -> tuple[str, ...]:
    if row.recipe == "current":
        return (f"ktransformers[sglang]=={row.version}",)
    return (f"torch=={row.torch}", f"transformers=={row.transformers}")


def _packages(row: Ktransformers) -> dict[str, str]:
    """What the environment holds, as far as it can clash with anything."""
    if row.recipe == "classic":
        return {"ktransformers": row.version, "torch": row.torch, "transformers": row.transformers}
    version = row.version
    names = ("ktransformers", "kt-kernel", "sglang-kt")
    return {**dict.fromkeys(names, version), "transformers-kt": row.transformers.rpartition(" ")[2], "torch": row.torch}


def _torch_why(row: Ktransformers) -> str:
    if row.recipe == "current":
        return "kt-kernel and sglang-kt pin it"
    abi = matrix().torch_row(row.torch).abi[row.cuda]
    return f"the last with wheels of flash-attn {row.flash_attn}; C++ ABI {str(abi).upper()} (TRUE with CUDA 12.6)"


def _python_why(row: Ktransformers) -> str:
    if row.recipe == "current":
        return f"kt-kernel has wheels for {row.python[0]} and {row.python[1]} only"
    return "the version that KTransformers' own guide takes"


def _cards(draft: Draft, row: Ktransformers) -> None:
    for capability in draft.it.capabilities:
        if not within(capability, row.cards):
            old = numbers(capability) < numbers(row.cards[0])
            fix = (
                "rent a card from Ampere on (RTX 3090, RTX 4090, A100...), or use `engine: ollama`"
                if old
                else "`ktransformers.recipe: current`"
            )
            draft.refuse(
                "compute-capability",
                f"{draft.it.card or 'the card'} has compute capability {capability}; KTransformers {row.version} has "
                f"kernels for {row.cards[0]} to {row.cards[1]}",
                fix,
            )


def _libstdcxx(draft: Draft, facts: Facts | None, python: str) -> tuple[int, ...]:
    if facts is None:
        return ()
    if conda_brings(facts, python) and facts.conda_glibcxx:
        return numbers(facts.conda_glibcxx)
    return draft.it.glibcxx


def _needed(draft: Draft, row: Ktransformers) -> tuple[int, ...]:
    """What libraries ask of libstdc++: of wheels it is known, of what is built here the compiler says it."""
    if row.glibcxx:
        return numbers(row.glibcxx)
    gcc = numbers(draft.it.gcc)
    return numbers(GLIBCXX_OF_GCC.get(gcc[0], "")) if gcc else ()


def _recipe_fix(draft: Draft, row: Ktransformers) -> None:
    """On an old system the other recipe may still do."""
    if row.recipe == "current":
        for at, refusal in enumerate(draft.refusals):
            if refusal.check == "libc":
                draft.refusals[at] = replace(refusal, fix=f"`ktransformers.recipe: classic`, or {refusal.fix}")
