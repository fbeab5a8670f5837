"""`gpubox demo`: the main job for real on this machine, with the functions that the other commands call."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpubox import paths
from gpubox.bench import BenchResult, run_bench
from gpubox.boxfile import starter_text
from gpubox.chats import Chat
from gpubox.down import down, results_place
from gpubox.errors import Refused
from gpubox.ledger import Ledger
from gpubox.up import up

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.converge.progress import Board
    from gpubox.receipt import Receipt

NAME = "demo"
QUESTION = "你是谁？"


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo came to; `receipt` is None when the box was kept."""

    bench: BenchResult
    receipt: Receipt | None


def demo(*, board: Board, answer: Callable[[str], None], keep: bool = False, results: Path | None = None) -> Demo:
    """Stand a local box up, train, serve, ask, measure, and take it down; `answer` gets the streamed reply.

    Raises `Refused` before anything starts where vLLM has no CPU build, and what the steps raise: the box then stays
    as it is, and the error says how to go on or to take it down.
    """
    refuse_where_vllm_has_no_cpu_build()
    place = (results or Path("gpubox-results")).absolute()
    up(NAME, board=board, box_file=_box_file())
    with Chat(NAME) as chat, board.aside():
        answer(f"\n> {QUESTION}\n")
        chat.stream(QUESTION, answer)
        answer("\n\n")
    bench = run_bench(NAME, board=board, levels=[1, 4, 8], requests=24, input_len=64, output_len=32, results=place)
    if keep:
        return Demo(bench, None)
    home = results_place(NAME, place)
    receipt = down(NAME, board=board, confirm=lambda _: True, results=home, to=home)
    return Demo(bench, receipt)


def refuse_where_vllm_has_no_cpu_build() -> None:
    """Raise `Refused` on machines for which nobody builds vLLM's CPU wheel."""
    system, machine = platform.system(), platform.machine().lower()
    if system == "Linux" and machine in ("x86_64", "amd64"):
        return
    raise Refused(
        f"the demo serves its model with vLLM's CPU build, which does not exist for {system} on {machine}",
        where=f"Python {sys.version_info.major}.{sys.version_info.minor}",
        hint='run the demo on x86-64 Linux; a rented box works from here: `gpubox add NAME "ssh -p PORT root@HOST"`',
    )


def _box_file() -> Path:
    """The demo's box file, in gpubox's own directory: the person's `boxes/` stays as it is."""
    with Ledger() as ledger:
        record = ledger.find(NAME)
    path = paths.box_dir(NAME) / f"{NAME}.yml"
    if record is not None and record.state != "released" and record.provider != "local":
        raise Refused(
            f"a box of yours is called `{NAME}`, and the demo needs that name",
            hint=f"take it down (`gpubox down {NAME}`), or give it another name",
        )
    path.write_text(starter_text(NAME, "local-demo"))
    return path
