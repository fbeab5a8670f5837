"""Reaches a local box with OpenSSH, and waits for what happens there."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from gpubox.providers.local_box.layout import BoxDir, Identity, Running

SECRET = "a-secret-of-the-caller"


@dataclass(frozen=True)
class Client:
    """A box that runs and the `ssh` that reaches it."""

    box: BoxDir
    identity: Identity
    running: Running
    config: Path

    def command(self, program: str, *arguments: str) -> list[str]:
        return [program, "-F", str(self.config), *arguments]

    def run(self, command: str, *options: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.command("ssh", *options, "box", command), input=stdin, capture_output=True, timeout=120, check=False
        )


def connect(box: BoxDir, identity: Identity, running: Running, home: Path) -> Client:
    """Install a key and write what `ssh` needs to pin the box's host key."""
    key = home / "id_ed25519"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    box.authorized_keys.write_text(key.with_suffix(".pub").read_text())
    known = home / f"{box.path.name}.known_hosts"
    known.write_text(f"[127.0.0.1]:{running.port} {running.host_key}\n")
    config = home / f"{box.path.name}.config"
    options = {
        "HostName": "127.0.0.1",
        "Port": running.port,
        "User": identity.user,
        "IdentityFile": key,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": known,
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
    }
    config.write_text("Host box\n" + "".join(f"  {name} {value}\n" for name, value in options.items()))
    return Client(box, identity, running, config)
