"""The table of layers in docs/architecture.md: an import goes only down."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gpubox

PACKAGE = Path(gpubox.__file__).parent

# Highest first; a module may import its own layer's package and everything below.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("demo", "doctor", "dry_run", "web_ui_home"),
    (
        "up",
        "down",
        "add",
        "power",
        "chats",
        "logs",
        "bench",
        "cost",
        "offers",
        "sweep",
        "shell",
        "history_export",
        "history_import",
        "snapshot_daemon",
        "snapshot_fetch",
    ),
    ("takedown_look", "preparing", "teardown"),
    ("takedown",),
    ("backup", "restore", "model_copy"),
    ("web_ui", "web_ui_member", "web_ui_restore"),
    ("wheelhouse",),
    ("tunnels", "guard", "renting"),
    ("status", "listing", "places", "chat", "receipt", "models", "ollama_registry", "web_ui_line", "snapshots"),
    ("reach",),
    ("converge",),
    ("web_ui_engines",),
    ("orders",),
    ("funds",),
    ("asking", "sifting", "sighting", "reconcile", "releasing", "stock", "prices"),
    ("providers",),
    ("preflight",),
    ("builds",),
    ("remote",),
    ("boxfile",),
    ("notify",),
    ("history",),
    ("web_ui_secrets",),
    ("ledger", "accounts", "backups"),
    ("paths", "words", "cards", "durations", "interrupts"),
    ("errors", "__init__"),
)
# Loaded by Ansible, not imported by the rest.
ANSIBLE = "ansible_plugins"


def rank(name: str) -> int:
    for index, names in enumerate(LAYERS):
        if name in names:
            return index
    raise AssertionError(f"`gpubox.{name}` is in no layer: add it to LAYERS and to docs/architecture.md")


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "_content" not in path.parts)


def imported(path: Path) -> set[str]:
    """First components below `gpubox` of everything that `path` imports, function bodies included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "gpubox" else [node.module]
            )
        for name in names:
            parts = name.split(".")
            if parts[0] == "gpubox" and len(parts) > 1 and not parts[1].startswith("__version"):
                found.add(parts[1])
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == ANSIBLE:
        return
    for name in imported(path):
        assert name != ANSIBLE, f"{path} imports a plugin"
        assert name == own or rank(name) > rank(own), (
            f"{path}: `gpubox.{own}` imports `gpubox.{name}`, which is not below"
        )
