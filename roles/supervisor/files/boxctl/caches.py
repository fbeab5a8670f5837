"""Names that are known to hold what can be made or fetched again; docs/backup.md tells of them."""

from __future__ import annotations

# Directories of these names hold caches, environments, programs or keys, wherever they are.
CACHES = frozenset(
    {
        ".cache",
        ".cargo",
        ".conda",
        ".cursor-server",
        ".gnupg",
        ".ipynb_checkpoints",
        ".ipython",
        ".jupyter",
        ".mypy_cache",
        ".npm",
        ".nox",
        ".nuget",
        ".nv",
        ".nvm",
        ".ollama",
        ".pytest_cache",
        ".ruff_cache",
        ".rustup",
        ".ssh",
        ".tox",
        ".triton",
        ".vscode-remote",
        ".vscode-server",
        "__pycache__",
        "autodl-pub",
        "lost+found",
        "node_modules",
        "site-packages",
    }
)
# The same below the home directory only.
HOME_CACHES = frozenset(
    {
        ".local/bin",
        ".local/lib",
        ".local/pipx",
        ".local/share/Trash",
        ".local/share/jupyter",
        ".local/share/uv",
        ".local/state",
        ".modelscope",
        "go/pkg",
    }
)
# A directory that holds one of these is an environment or says of itself that it is a cache.
MARKS = frozenset({"pyvenv.cfg", "conda-meta", "CACHEDIR.TAG"})
# What a shell, an editor or a login writes into a home by itself.
HOME_FILES = frozenset(
    {
        ".Xauthority",
        ".bash_history",
        ".bash_login",
        ".bash_logout",
        ".bash_profile",
        ".bashrc",
        ".condarc",
        ".lesshst",
        ".motd_shown",
        ".netrc",
        ".profile",
        ".python_history",
        ".selected_editor",
        ".sudo_as_admin_successful",
        ".viminfo",
        ".wget-hsts",
        ".zcompdump",
        ".zsh_history",
        ".zshrc",
    }
)
# What gpubox itself keeps at the top of its root; only what roles declare of it is precious.
OWN = frozenset(
    {
        "bin",
        "bundles",
        "cache",
        "controller",
        "converge",
        "converge.lock",
        "converged.json",
        "cuda",
        "demo",
        "envs",
        "guard",
        "jobs",
        "lib",
        "logs",
        "models",
        "ollama",
        "python",
        "results",
        "services",
        "snapshots",
        "supervisor",
        "bootstrap.lock",
        "bootstrap.log",
        "env.sh",
        "hashes.jsonl",
        "keep.json",
    }
)
# Hub caches: `models--owner--name` and the like, with `blobs` and `snapshots` below.
HUBS = ("models--", "datasets--", "spaces--")
