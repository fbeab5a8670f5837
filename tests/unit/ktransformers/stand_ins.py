"""A box for the build: directories as on a real one, small programs as uv, boxctl, compilers and Python."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

TORCH = "__version__ = '2.6.0+cu124'\ncuda: Optional[str] = '12.4'\ngit_version = '1eba9b3aa3c43f86f4a2c807ac8e12c4'\n"


@dataclass(frozen=True)
class Box:
    """`says`: what the build prints; `calls`: what uv was called with."""

    root: Path

    @property
    def env(self) -> Path:
        return self.root / "envs/ktransformers"

    @property
    def cuda(self) -> Path:
        return self.root / "cuda/12.4"

    @property
    def source(self) -> Path:
        return self.root / "src/ktransformers-0.3.2"

    def make(self, *, nvcc: str = "12.4", gxx: str = "12.2.0") -> Box:
        site = self.env / "lib/python3.11/site-packages/torch"
        for directory in (site, self.source, self.root / "says"):
            directory.mkdir(parents=True)
        (site / "version.py").write_text(TORCH)
        self.program(self.cuda / "bin/nvcc", f"echo 'Cuda compilation tools, release {nvcc}, V{nvcc}.131'")
        for name in ("gcc", "g++"):
            self.program(self.env / f"bin/{name}", f"echo '{name} (Debian {gxx}-14) {gxx}'")
        self.program(self.env / "bin/cmake", "echo 'cmake version 3.31.6'")
        self.program(
            self.env / "bin/python", 'echo "$*" >>"$0.calls"; cat "$0.says" >&2 2>/dev/null; exit "$(cat "$0.code")"'
        )
        self.python()
        self.program(self.root / "bin/boxctl", 'echo "$*" >>"$0.calls"')
        self.program(
            self.root / "controller/bin/uv", UV.replace("ROOT", str(self.root)).replace("PYTHON", sys.executable)
        )
        self.say("")
        return self

    def program(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def python(self, code: int = 0, says: str = "") -> None:
        """How the environment's Python ends when it tries what was built."""
        (self.env / "bin/python.code").write_text(str(code))
        (self.env / "bin/python.says").write_text(says)

    def say(self, text: str, code: int = 0, wheel: str = "ktransformers-0.3.1+cu124torch26fancy") -> None:
        """What `uv build` prints, how it ends, and which wheel it leaves."""
        for name, value in (("text", text), ("code", str(code)), ("wheel", wheel)):
            (self.root / "says" / name).write_text(value)

    def calls(self) -> list[dict[str, Any]]:
        """Arguments and environment of every call of uv."""
        path = self.root / "says/calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wish(self, **other: object) -> dict[str, Any]:
        sources = {
            "url": "u",
            "mirror": "",
            "tag": "v0.3.2",
            "commit": "c",
            "path": str(self.source),
            "submodules": False,
        }
        return {
            "root": str(self.root),
            "env": str(self.env),
            "sources": sources,
            "reports": "0.3.1",
            "extensions": ["cpuinfer_ext", "KTransformersOps"],
            "cuda_home": str(self.cuda),
            "cuda_archs": "8.9",
            "custom_flashinfer": False,
            **other,
        }


UV = """
PYTHON -S - "$@" <<'EOF'
import json, os, sys
with open("ROOT/says/calls", "a") as calls:
    calls.write(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd()}) + "\\n")
EOF
if [ "$1" = build ]; then
  cat ROOT/says/text
  [ "$(cat ROOT/says/code)" = 0 ] || exit "$(cat ROOT/says/code)"
  while [ "$1" != --out-dir ]; do shift; done
  mkdir -p "$2" build && : >"$2/$(cat ROOT/says/wheel)-cp311-cp311-linux_x86_64.whl"
fi
"""
