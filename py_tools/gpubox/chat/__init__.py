"""A conversation with an engine: ask once, or go back and forth, over its OpenAI-compatible API."""

from __future__ import annotations

from gpubox.chat.client import answer, ask, models
from gpubox.chat.repl import repl

__all__ = ["answer", "ask", "models", "repl"]
