"""The program that fetches models, as it lies in its role."""

from __future__ import annotations

import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[3] / "roles/model/files"

# `model_fetch` is no part of the package `gpubox`: on a box it lies in <root>/lib.
sys.path.insert(0, str(PROGRAM))
