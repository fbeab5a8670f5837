"""Our own key pair: made once, used for every box, never shown to anybody but their sshd."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from gpubox import paths
from gpubox.errors import Failed

_COMMENT = "gpubox"


def ensure_identity() -> Path:
    """The path of our ed25519 private key, made (0600, no passphrase) when it is missing."""
    directory = paths.data_dir() / "keys"
    directory.mkdir(mode=0o700, exist_ok=True)
    private = directory / "id_ed25519"
    if not private.exists():
        _make(private)
    if private.stat().st_mode & 0o077:
        private.chmod(0o600)
    return private


def public_key(private: Path) -> str:
    """The public half of a private key file, `TYPE BASE64 gpubox`. Raises `Failed` when the file cannot be read."""
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_ssh_private_key(private.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise Failed(
            f"the key `{private}` cannot be used: {error}",
            hint="move it away; the next `gpubox add` makes a new one and installs it",
        ) from error
    text = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"{text.decode()} {_COMMENT}"


def _make(private: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    text = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    handle, name = tempfile.mkstemp(dir=private.parent, prefix=".id-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
        # A link, not a rename: of two gpubox that start together, one key must win for both.
        if not private.exists():
            os.link(temporary, private)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    private.with_name("id_ed25519.pub").write_text(public_key(private) + "\n")
