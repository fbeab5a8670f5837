"""Where a CUDA compiler comes from, and what becomes of it: real uv, stand-ins for nvcc, g++ and conda."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cuda_toolkit.choose import Choice, Found, Trouble, choose
from cuda_toolkit.look import look
from unit.ansible.conftest import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = sorted((Path(__file__).parent / "cuda_toolkit").glob("*.yml"))
PINNED = yaml.safe_load((CHECKOUT / "roles/cuda_toolkit/vars/versions.yml").read_text())
KEY = "0123456789abcdef" * 4

# Says its release, notes how it was called and in which environment, and leaves what it was asked for.
NVCC = """\
#!/bin/sh
if [ "$1" = --version ]; then echo "Cuda compilation tools, release {release}, V{release}.88"; exit 0; fi
echo "$* CPATH=${{CPATH-none}}" >> {log}
{extra}
for last; do :; done
: > "$last"
"""


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_choice(path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    arguments = (case["version"], case["wanted"], case["wheels"], Found(case["toolkits"], case["conda"]))
    if "refusal" in case:
        with pytest.raises(Trouble) as refused:
            choose(*arguments)
        assert str(refused.value) == case["refusal"]
    else:
        assert choose(*arguments) == Choice(*case["choice"])


class Box:
    """A gpubox root with uv and a Python, and programs of our own before anything on the PATH."""

    def __init__(self, place: Path) -> None:
        self.root, self.bin, self.log = place / "root", place / "bin", place / "calls"
        (self.root / "controller/bin").mkdir(parents=True)
        self.bin.mkdir()
        (self.root / "controller/bin/python").symlink_to(sys.executable)
        (self.root / "controller/bin/uv").symlink_to(Path(sys.executable).parent / "uv")
        self.program("g++", "#!/bin/sh\nexit 0\n")

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, *arguments: str, **wanted: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
        request = {
            "root": str(self.root), "version": "13.0", "key": KEY, "source": "wheels", "archs": ["80", "90"],
            "wheels": ["nvidia-cuda-nvcc==13.0.88"], "conda_channel": "nvidia/label/cuda-13.0.1",
            "conda_packages": ["cuda-nvcc"], "index": {"no_index": True, "find_links": [str(self.root.parent)]},
            **wanted,
        }  # fmt: skip
        path = f"{self.bin}:/usr/bin:/bin"
        env = {
            "GPUBOX_CUDA_TOOLKIT": json.dumps(request), "PATH": path, "HOME": str(self.root), "CPATH": "/elsewhere",
            "PYTHONPATH": f"{CHECKOUT}/roles/cuda_toolkit/files:{CHECKOUT}/roles/python_env/files",
            "PYTHONDONTWRITEBYTECODE": "1", "GPUBOX_PROGRESS": str(self.root / "progress"),
        }  # fmt: skip
        argv = [sys.executable, "-m", "cuda_toolkit", *arguments]
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.fixture
def wheel(box: Box) -> Callable[..., None]:
    """Makes a wheel like NVIDIA's, with an nvcc that may say `extra` things before it ends."""

    def make(release: str = "13.0", extra: str = "") -> None:
        info = "nvidia_cuda_nvcc-13.0.88.dist-info"
        with zipfile.ZipFile(box.root.parent / "nvidia_cuda_nvcc-13.0.88-py3-none-any.whl", "w") as archive:
            for name, text in {
                "nvidia/cu13/bin/nvcc": NVCC.format(release=release, log=box.log, extra=extra),
                "nvidia/cu13/nvvm/bin/cicc": "",
                "nvidia/cu13/include/cuda.h": "",
                "nvidia/cu13/lib/libcudart.so.13": "",
                f"{info}/METADATA": "Metadata-Version: 2.1\nName: nvidia-cuda-nvcc\nVersion: 13.0.88\n",
                f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: false\nTag: py3-none-any\n",
                f"{info}/RECORD": "",
            }.items():
                archive.writestr(name, text)

    return make


def test_wheels_become_a_cuda_home(box: Box, wheel: Callable[..., None]) -> None:
    wheel()
    done = box.run()
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    home = box.root / "cuda/13.0"
    assert {path.name for path in home.iterdir()} == {"bin", "include", "lib", "lib64", "nvvm"}
    assert (home / "lib64/libcudart.so").resolve().name == "libcudart.so.13"
    assert os.access(home / "nvvm/bin/cicc", os.X_OK)
    called = box.log.read_text()
    assert "-gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90" in called
    # What another toolkit left in the environment does not get in.
    assert "CPATH=none" in called
    assert "CUDA 13.0 is there" in (box.root / "progress").read_text()
    assert box.run("--prove").returncode == 0
    # A second one of another key takes the first one's place, and leaves nothing half.
    assert box.run(key=KEY[::-1]).returncode == 0
    assert box.run("--prove").returncode == 0


@pytest.mark.parametrize(
    ("release", "extra", "said"),
    [
        ("13.2", "", "says that it is 13.2, not 13.0"),
        ("13.0", "echo 'error: unsupported GNU version! gcc versions later than 15 are not supported'; exit 1",
         "nvcc 13.0 takes g++ up to 15 only: `apt-get install -y g++-15`"),
        ("13.0", "echo \"nvcc fatal : Unsupported gpu architecture 'compute_121'\"; exit 1",
         "cannot compile for compute_121"),
        ("13.0", "echo; echo cannot find -lcudart_static; exit 1", "does not compile: cannot find -lcudart_static"),
    ],
)  # fmt: skip
def test_what_does_not_compile_gets_no_name(
    box: Box, wheel: Callable[..., None], release: str, extra: str, said: str
) -> None:
    wheel(release, extra)
    done = box.run()
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (box.root / "cuda/13.0").exists()


def test_wheels_that_are_not_there(box: Box) -> None:
    done = box.run()
    assert done.returncode == 1
    assert "nvidia-cuda-nvcc" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("below", ["targets/$(uname -m)-linux/", ""])
def test_conda_is_asked_for_one_channel_and_arranged(box: Box, below: str) -> None:
    nvcc = NVCC.format(release="12.4", log=box.log, extra="")
    box.program("nvcc-of-conda", nvcc)
    box.program(
        "conda",
        f'#!/bin/sh\necho "$*" > {box.log}.conda\nprefix="$4"\nmkdir -p "$prefix/bin" "$prefix/nvvm" '
        f'"$prefix/{below}include" "$prefix/{below}lib"\ncp {box.bin}/nvcc-of-conda "$prefix/bin/nvcc"\n',
    )
    done = box.run(version="12.4", source="conda", wheels=[], conda_channel="nvidia/label/cuda-12.4.1")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    prefix = box.root / f"cuda/.builds/{KEY[:16]}/conda"
    assert (box.root.parent / "calls.conda").read_text().split() == [
        "create", "--yes", "--prefix", str(prefix), "--override-channels", "--channel", "nvidia/label/cuda-12.4.1",
        "cuda-nvcc",
    ]  # fmt: skip
    home = box.root / "cuda/12.4"
    assert {"bin", "include", "lib64", "nvvm"} <= {path.name for path in home.iterdir()}
    assert (home / "bin/nvcc").resolve() == prefix / "bin/nvcc"


def test_conda_that_fails_is_quoted(box: Box) -> None:
    box.program("conda", "#!/bin/sh\necho 'CondaHTTPError: HTTP 000 CONNECTION FAILED'\nexit 1\n")
    done = box.run(version="12.4", source="conda", wheels=[])
    assert done.returncode == 1
    assert "CondaHTTPError: HTTP 000 CONNECTION FAILED" in done.stderr
    assert "cuda_toolkit_conda_channel" in done.stderr


def test_looking_asks_every_nvcc(tmp_path: Path) -> None:
    for version in ("12.1", "12.4"):
        program = tmp_path / f"local/cuda-{version}/bin/nvcc"
        program.parent.mkdir(parents=True)
        program.write_text(NVCC.format(release=version, log="/dev/null", extra=""))
        program.chmod(0o755)
    (tmp_path / "local/cuda").symlink_to("cuda-12.1")
    conda = tmp_path / "miniconda3/bin/conda"
    conda.parent.mkdir(parents=True)
    conda.write_text("")
    conda.chmod(0o755)
    found = look(str(tmp_path / "none"), tmp_path / "local", (str(tmp_path / "miniconda3"),))
    places = {Path(place).name: release for place, release in found.toolkits.items()}
    assert places == {"cuda-12.4": "12.4", "cuda-12.1": "12.1"}
    assert found.conda == str(conda)


def test_every_pinned_part_is_exact() -> None:
    for version, parts in PINNED["cuda_toolkit_wheels"].items():
        assert {part.split("==")[0] for part in parts} == {
            "nvidia-cuda-nvcc", "nvidia-cuda-crt", "nvidia-nvvm", "nvidia-cuda-runtime", "nvidia-cuda-cccl",
        }  # fmt: skip
        assert all(part.split("==")[1].startswith(f"{version}.") for part in parts)
