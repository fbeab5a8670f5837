"""A test box that has `boxctl` and nothing else of gpubox, in the ledger: made in a second, not in a converge."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import supervisor

from box.testbox.options import Bind
from gpubox.ledger import Ledger
from gpubox.remote.first_contact import ensure_identity, first_contact
from gpubox.remote.login import Endpoint

if TYPE_CHECKING:
    from box.testbox import BoxFactory, TestBox

ROOT = "/root/autodl-tmp/gpubox"
_FILES = Path(__file__).resolve().parents[2] / "roles" / "supervisor" / "files"
_SET_UP = f"""set -e
mkdir -p {ROOT}/bin {ROOT}/lib {ROOT}/controller/bin {ROOT}/results {ROOT}/logs {ROOT}/converge {ROOT}/services
cp /opt/files/boxctl.sh {ROOT}/bin/boxctl
chmod +x {ROOT}/bin/boxctl
cp -r /opt/files/boxctl {ROOT}/lib/
ln -s /usr/bin/python3 {ROOT}/controller/bin/python
python3 -m compileall -q {ROOT}/lib
"""

# What keeps services running: supervisor itself is Python only, and comes from the tests' own environment.
_SUPERVISED = f"""
mkdir -p {ROOT}/supervisor
cp /opt/files/keeper.sh /opt/files/autostart.sh {ROOT}/supervisor/
cp -r /opt/supervisor {ROOT}/lib/supervisor
{ROOT}/bin/boxctl boot
"""


def kept_box(
    boxes: BoxFactory,
    name: str = "mybox",
    *,
    data_size: int = 2 << 30,
    port: int | None = None,
    network: Literal["empty", "host"] = "empty",
    supervised: bool = False,
) -> TestBox:
    """A box `name`; `port` is that of a proxy to it, for callers that know it beforehand. `supervised`: it has
    services, too."""
    binds = (Bind(str(_FILES), "/opt/files"), Bind(str(Path(supervisor.__file__).parent), "/opt/supervisor"))
    box = boxes(data_size=data_size, binds=binds, network=network)
    done = box.exec(_SET_UP + (_SUPERVISED if supervised else ""))
    assert done.exit_code == 0, done.stderr
    if port is None:
        enroll(box, name, box.port)
    return box


def enroll(box: TestBox, name: str, port: int) -> None:
    """Write the box into the ledger, reached through `port` of this machine."""
    identity = ensure_identity()
    endpoint = Endpoint("127.0.0.1", port)
    key = first_contact(
        name,
        endpoint,
        password=lambda: box.password,
        pinned=None,
        accept=lambda _mark, _key: True,
        identity_file=identity,
    )
    with Ledger() as ledger:
        fields = {"host": endpoint.host, "port": port, "user": "root", "host_key": key, "identity_file": identity}
        ledger.add(name, "attach", state="running", root=ROOT, **fields)


def python(box: TestBox, program: str) -> str:
    """Run a Python program in the box; what it prints."""
    done = box.exec(f"python3 -c {shlex.quote(program)}")
    assert done.exit_code == 0, done.stderr
    return done.stdout


def fill(box: TestBox, place: str, size: int) -> None:
    """A file of `size` bytes that differs in every KiB and is made in no time."""
    program = f"""
import os
os.makedirs(os.path.dirname({place!r}), exist_ok=True)
block = os.urandom(1 << 20)
with open({place!r}, "wb") as file:
    for number in range(-(-{size} >> 20)):
        file.write(number.to_bytes(8, "big") + block[8:])
    file.truncate({size})
"""
    python(box, program)
