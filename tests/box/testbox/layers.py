"""What makes a plain Debian root file system look like a rented box: files in the box's own layer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from box.testbox.options import BoxOptions

_ROOTFS = Path(__file__).with_name("rootfs")
_CA = Path("/etc/ssl/certs/ca-certificates.crt")
HOST_KEY = "etc/ssh/ssh_host_ed25519_key"

_SSHD = """HostKey /{key}
PermitRootLogin yes
PasswordAuthentication yes
UsePAM no
UseDNS no
MaxSessions 100
AcceptEnv LANG LC_*
Subsystem sftp /usr/lib/openssh/sftp-server
"""


def write(upper: Path, options: BoxOptions) -> None:
    """Writes the files of a new box. Must run before the overlay is mounted."""
    _put(upper / "etc/ssh/sshd_config", _SSHD.format(key=HOST_KEY))
    _put(upper / "etc/hostname", options.hostname + "\n")
    _put(upper / "etc/hosts", f"127.0.0.1 localhost {options.hostname}\n::1 localhost ip6-localhost\n")
    _put(upper / "sync/root-passwd", options.password + "\n", mode=0o600)
    _put(upper / "init/boot/boot.sh", (_ROOTFS / "boot.sh").read_text(), mode=0o755)
    _put(upper / "usr/bin/shutdown", (_ROOTFS / "shutdown").read_text(), mode=0o755)
    _put(upper / "root/.bashrc", (_ROOTFS / "bashrc").read_text())
    (upper / "root").chmod(0o700)
    (upper / options.data_dir.lstrip("/")).mkdir(parents=True, exist_ok=True)
    _from_host(upper)
    if options.conda:
        _conda(upper / "root/miniconda3/bin")
    for path, text in options.files.items():
        _put(upper / path.lstrip("/"), text)


def _from_host(upper: Path) -> None:
    """A registry reached through a proxy may be signed by a CA that only this machine knows."""
    if Path("/etc/resolv.conf").exists():
        _put(upper / "etc/resolv.conf", Path("/etc/resolv.conf").read_text())
    if _CA.exists():
        target = upper / _CA.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_CA, target)


def _conda(directory: Path) -> None:
    directory.mkdir(parents=True)
    for name in ("python", "python3"):
        (directory / name).symlink_to("/usr/bin/python3")


def _put(path: Path, text: str, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
