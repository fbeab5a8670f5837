"""Environments that have the files by which a fingerprint is taken, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wheelhouse.check import Fingerprint

if TYPE_CHECKING:
    from pathlib import Path

NOW = Fingerprint(torch="2.8.0", cuda="12.8", abi="TRUE", python="cp312", machine="x86_64")


def environment(
    place: Path, torch: str = "2.8.0+cu128", cuda: str | None = "12.8", abi: str = "", python: str = "3.12"
) -> Path:
    """A Python environment with that torch; `abi` is what TorchConfig.cmake says."""
    site = place / f"lib/python{python}/site-packages"
    (site / "torch/share/cmake/Torch").mkdir(parents=True, exist_ok=True)
    shown = "None" if cuda is None else f"'{cuda}'"
    (site / "torch/version.py").write_text(
        f"from typing import Optional\n\n__all__ = ['__version__', 'cuda']\n__version__ = '{torch}'\n"
        f"debug = False\ncuda: Optional[str] = {shown}\nhip: Optional[str] = None\n"
    )
    flags = f'set(TORCH_CXX_FLAGS "-D_GLIBCXX_USE_CXX11_ABI={abi}")\n' if abi else ""
    (site / "torch/share/cmake/Torch/TorchConfig.cmake").write_text(flags)
    return place
