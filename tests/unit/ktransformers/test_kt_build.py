"""The job that builds KTransformers, with stand-ins for uv and the compilers: what it checks, sets, says and leaves."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kt_tools import build, fingerprint, launch, machine
from kt_tools.errors import Trouble
from kt_tools.progress import Progress
from unit.ktransformers.stand_ins import Box

NUMA = "-- NUMA library found: /usr/lib/x86_64-linux-gnu/libnuma.so - enabling NUMA support\n"


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    monkeypatch.setenv("USE_NUMA", "0")
    monkeypatch.setenv("USE_BALANCE_SERVE", "1")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/local/cuda/lib64")
    return Box(tmp_path).make()


def run(box: Box, **other: object) -> None:
    build.run(build.Wish.read(json.dumps(box.wish(**other))), Progress(box.root / "progress"))


def test_it_builds_with_limits_and_only_what_was_asked_for(box: Box) -> None:
    (box.source / "third_party/custom_flashinfer").mkdir(parents=True)
    box.say("[ 42%] Building CXX object a.o\n[3/17] nvcc b.cu\n")
    run(box, custom_flashinfer=True, after=["source-ktransformers", "env-ktransformers"], max_jobs=1)
    assert [call["argv"][:2] for call in box.calls()] == [["build", "--wheel"], ["pip", "install"]] * 2
    assert [Path(call["cwd"]).name for call in box.calls()[::2]] == ["ktransformers-0.3.2", "custom_flashinfer"]
    for call in box.calls():
        assert ("--no-build-isolation" in call["argv"]) == (call["argv"][0] == "build")
        assert ("--no-deps" in call["argv"]) == (call["argv"][0] == "pip")
    environment = box.calls()[0]["env"]
    assert not {"USE_NUMA", "USE_BALANCE_SERVE", "LD_LIBRARY_PATH"} & set(environment)
    wanted = {"MAX_JOBS": "1", "CMAKE_BUILD_PARALLEL_LEVEL": "1", "KTRANSFORMERS_FORCE_BUILD": "TRUE"}
    wanted |= {"TORCH_CUDA_ARCH_LIST": "8.9", "CUDA_HOME": str(box.cuda), "CPU_INSTRUCT": "NATIVE"}
    assert {name: environment[name] for name in wanted} == wanted
    assert environment["PATH"].startswith(f"{box.env}/bin:{box.cuda}/bin:")
    waited = (box.root / "bin/boxctl.calls").read_text().splitlines()
    assert [line.split()[2] for line in waited] == ["source-ktransformers", "env-ktransformers"]
    told = [json.loads(line) for line in (box.root / "progress").read_text().splitlines()]
    assert {"label": "building KTransformers", "done": 42, "total": 100, "unit": "%"} in told
    assert {"label": "building KTransformers", "done": 3, "total": 17, "unit": "unit"} in told
    stamp = fingerprint.read(box.env)
    assert (stamp["torch"], stamp["cuda"], stamp["tag"]) == ("2.6.0+cu124", "12.4", "v0.3.2")
    launch.check(box.env, built=True, weights=None)


def test_what_is_asked_for_is_set(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kt_tools.toolchain.look", lambda *_, **__: None)
    box.say(NUMA)
    run(box, numa=True, balance_serve=True, cpu_instruct="AVX2")
    environment = box.calls()[0]["env"]
    assert (environment["USE_NUMA"], environment["USE_BALANCE_SERVE"]) == ("1", "1")
    assert fingerprint.read(box.env)["cpu_flags"] == ["avx", "avx2", "f16c", "fma"]


def test_numa_that_was_left_out_silently_is_told(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kt_tools.toolchain.look", lambda *_, **__: None)
    box.say("-- NUMA library not found or user not set USE_NUMA - disabling NUMA support\n")
    with pytest.raises(Trouble, match=r"left NUMA out .* libnuma-dev"):
        run(box, numa=True)
    assert not (box.env / fingerprint.STAMP).exists()


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (
            "c++: fatal error: Killed signal terminated program cc1plus\nerror: wheel\n",
            "a compiler .* was killed.*max_jobs: 1",
        ),
        ("a.cpp:3:1: fatal error: numa.h: No such file or directory\nerror: wheel\n", "a.cpp:3:1: fatal error: numa.h"),
        ('CMake Error: Target "x" requires the language dialect "CUDA20"\n', "CUDA20"),
    ],
)
def test_why_it_failed_is_the_cause_and_not_the_last_line(says: str, expected: str, box: Box) -> None:
    box.say(says, code=1)
    with pytest.raises(Trouble, match=expected):
        run(box)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ({"nvcc": "13.0"}, "nvcc is 13.0 and torch was built with CUDA 12.4"),
        ({"gxx": "9.4.0"}, "gcc is 9.4.0, 11 or newer is needed"),
    ],
)
def test_tools_that_do_not_fit_are_told_before_anything_is_compiled(
    made: dict[str, str], expected: str, tmp_path: Path
) -> None:
    box = Box(tmp_path).make(**made)
    with pytest.raises(Trouble, match=expected):
        run(box)
    assert not box.calls()


def test_without_a_cuda_compiler_it_says_so_by_name(box: Box) -> None:
    (box.cuda / "bin/nvcc").unlink()
    with pytest.raises(Trouble, match=r"no CUDA compiler .*cuda_toolkit.*recipe: current"):
        run(box)


def test_nvcc_of_another_minor_version_is_fine(tmp_path: Path) -> None:
    """Articles build with 12.1 for torch's 12.4: PyTorch warns and goes on."""
    box = Box(tmp_path).make(nvcc="12.1")
    run(box)
    assert (box.env / fingerprint.STAMP).exists()


@pytest.mark.parametrize(
    ("says", "hint"),
    [
        ("ImportError: libstdc++.so.6: version `GLIBCXX_3.4.32' not found\n", "libstdcxx-ng"),
        ("ImportError: cpuinfer_ext.so: undefined symbol: _ZN3c106detail23\n", "another torch"),
    ],
)
def test_what_cannot_be_loaded_is_not_built(says: str, hint: str, box: Box) -> None:
    box.python(1, says)
    with pytest.raises(Trouble, match=f"cannot be loaded.*{hint}"):
        run(box)
    assert not (box.env / fingerprint.STAMP).exists()


def test_what_was_built_is_kept_and_not_built_again(box: Box) -> None:
    """Not even its sources are waited for."""
    (box.source / "third_party/custom_flashinfer").mkdir(parents=True)
    run(box, custom_flashinfer=True, after=["env-ktransformers"], source_job="source-ktransformers")
    keys = sorted(path.name for path in (box.root / "wheelhouse").iterdir())
    arch = platform.machine()
    assert [key.partition("native.")[0] for key in keys] == [
        f"{name}-0.3.2-torch2.6-cu12.4-abiTRUE-cp311-{arch}-sm8.9-" for name in ("custom_flashinfer", "ktransformers")
    ]
    (box.env / fingerprint.STAMP).unlink()
    before, waited = len(box.calls()), box.root / "bin/boxctl.calls"
    waited.unlink()
    run(box, custom_flashinfer=True, after=["env-ktransformers"], source_job="source-ktransformers")
    assert [call["argv"][:2] for call in box.calls()[before:]] == [["pip", "install"]] * 2
    assert "source-ktransformers" not in waited.read_text()
    launch.check(box.env, built=True, weights=None)


@pytest.mark.parametrize(
    "other", [{"numa": True}, {"balance_serve": True}, {"cpu_instruct": "AVX2"}, {"cuda_archs": "9.0"}, {"cpu": "avx9"}]
)
def test_another_cpu_or_other_options_never_get_it(
    box: Box, other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kt_tools.toolchain.look", lambda *_, **__: None)
    box.say(NUMA)
    run(box)
    if cpu := other.pop("cpu", None):
        now = machine.read()
        monkeypatch.setattr("kt_tools.machine.read", lambda: replace(now, flags=[*now.flags, cpu]))
    before = len(box.calls())
    run(box, **other)
    assert box.calls()[before]["argv"][0] == "build"
    assert len(list((box.root / "wheelhouse").iterdir())) == 2


def test_a_build_for_a_fixed_set_of_instructions_goes_to_any_cpu(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    run(box, cpu_instruct="AVX2")
    now = machine.read()
    monkeypatch.setattr("kt_tools.machine.read", lambda: replace(now, flags=[*now.flags, "avx9"]))
    before = len(box.calls())
    run(box, cpu_instruct="AVX2")
    assert [call["argv"][0] for call in box.calls()[before:]] == ["pip"]


def test_what_is_kept_and_does_not_load_or_has_rotted_is_built_anew(
    box: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(box)
    kept = next((box.root / "wheelhouse").glob("*/*.whl"))
    says = iter(["ImportError: /lib/libc.so.6: version `GLIBC_2.38' not found\n", ""])
    tried = build._try

    def try_again(*arguments: Any) -> None:  # noqa: ANN401
        said = next(says)
        box.python(int(bool(said)), said)
        tried(*arguments)

    monkeypatch.setattr(build, "_try", try_again)
    before = len(box.calls())
    run(box)
    assert [call["argv"][0] for call in box.calls()[before:]] == ["pip", "build", "pip"]
    assert "of no use here" in capsys.readouterr().out
    monkeypatch.setattr(build, "_try", tried)
    kept.write_bytes(b"rotten")
    before = len(box.calls())
    run(box)
    assert [call["argv"][0] for call in box.calls()[before:]] == ["build", "pip"]


def test_an_interrupted_build_goes_on_and_other_options_begin_anew(box: Box) -> None:
    box.python(1, "ImportError: no\n")
    with pytest.raises(Trouble):
        run(box)
    (box.source / "build/half.o").write_text("half")
    box.python()
    run(box)
    assert (box.source / "build/half.o").exists()
    run(box, balance_serve=True)
    assert not (box.source / "build/half.o").exists()


def test_other_sources_under_the_same_tag_are_noticed(box: Box) -> None:
    box.say("", wheel="ktransformers-0.2.4+cu124torch26fancy")
    with pytest.raises(Trouble, match=r"0\.3\.1 was expected"):
        run(box)


def test_another_torch_or_cpu_is_refused_at_the_start(box: Box) -> None:
    run(box)
    stamp = fingerprint.read(box.env)
    version = next(box.env.glob("lib/python3.*/site-packages/torch/version.py"))
    version.write_text(version.read_text().replace("1eba9b3a", "deadbeef"))
    with pytest.raises(Trouble, match=r"built for torch 1eba9b3a.*undefined symbol"):
        launch.check(box.env, built=True, weights=None)
    version.write_text(version.read_text().replace("deadbeef", "1eba9b3a"))
    fingerprint.write(box.env, {**stamp, "cpu_flags": ["avx2", "avx9000"]})
    with pytest.raises(Trouble, match=r"CPU with avx9000.*Illegal instruction"):
        launch.check(box.env, built=True, weights=None)
    (box.env / fingerprint.STAMP).unlink()
    with pytest.raises(Trouble, match="nothing says that KTransformers was built"):
        launch.check(box.env, built=True, weights=None)


def test_64_jobs_of_the_article_become_what_fits() -> None:
    gib = 2**30
    assert machine.compilers(64, 480 * gib) == 64
    assert machine.compilers(64, 120 * gib) == 16
    assert machine.compilers(64, 24 * gib) == 3
    assert machine.compilers(2, 1 * gib) == 1
