"""Convert the experts of a safetensors model for AMX, with upstream's own script: no wheel holds it.

The script uses a GPU and writes one file a layer. Its `--resume-layer` is not used: what is written after a resume
numbers its files from 1 again and its index knows only the later layers (read at v0.7.0). Half of one starts anew.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import source
from .errors import Trouble
from .output import Output
from .output import run as run_command

if TYPE_CHECKING:
    from .progress import Progress

_SCRIPT = "kt-kernel/scripts/convert_cpu_weights.py"
_DONE = "gpubox-converted.json"
_LAYER = re.compile(r"^Processing layer (\d+) \((\d+)/(\d+)\)")
_METHODS = {"AMXINT4": "int4", "AMXINT8": "int8"}


@dataclass(frozen=True)
class Wish:
    """What is to be converted, where to, and with which sources of the script."""

    env: Path
    sources: source.Wish
    model: Path
    output: Path
    input_type: str
    method: str
    threads: int
    nodes: int

    @classmethod
    def read(cls, text: str) -> Wish:
        """The wish from its JSON text."""
        values = json.loads(text)
        values["sources"] = source.Wish.read(json.dumps(values["sources"]))
        paths = {name: Path(values[name]) for name in ("env", "model", "output")}
        return cls(**{**values, **paths})


class _Layers(Output):
    """The script's own words for its progress."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(progress, "converting the experts")
        self._bar = progress

    def hear(self, line: str) -> None:
        super().hear(line)
        if found := _LAYER.match(line):
            self._bar.tell("converting the experts", done=int(found[2]), total=int(found[3]), unit="layer")


def run(wish: Wish, progress: Progress) -> None:
    """Convert, or find it converted. Raises `Trouble`."""
    if (wish.output / _DONE).exists():
        return
    source.fetch(wish.sources, progress)
    shutil.rmtree(wish.output, ignore_errors=True)
    output = _Layers(progress)
    code = run_command(argv(wish), dict(os.environ), wish.sources.path, output)
    if code != 0:
        raise Trouble(f"the conversion failed: {output.why()}")
    # It also ends with 0 when it found no experts in the model, having said so.
    if not (wish.output / "model.safetensors.index.json").exists():
        raise Trouble(f"the conversion wrote no whole model to `{wish.output}`: {output.why()}")
    (wish.output / _DONE).write_text(json.dumps({"method": wish.method, "from": str(wish.model)}) + "\n")


def argv(wish: Wish) -> list[str]:
    """The command, under the script's own names."""
    command = [str(wish.env / "bin" / "python"), str(wish.sources.path / _SCRIPT)]
    command += ["--input-path", str(wish.model), "--input-type", wish.input_type, "--output", str(wish.output)]
    command += ["--quant-method", _METHODS[wish.method], "--cpuinfer-threads", str(wish.threads)]
    return [*command, "--threadpool-count", str(wish.nodes)]
