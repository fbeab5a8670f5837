"""A local box that its own guard powers off: the box ends with all its programs, the machine does not."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from gpubox.providers.local_box import launch, processes
from waits import until

from .client import Client, connect

if TYPE_CHECKING:
    from collections.abc import Callable

ROLES = Path(__file__).resolve().parents[3] / "roles"
LIBRARY = f"{ROLES}/guard/files:{ROLES}/supervisor/files"
# As under supervisord: a keeper that starts it again, and a program beside it.
KEEPER = f"""
setsid sh -c 'sleep 600 & echo $! > beside; while :; do
  PYTHONPATH={LIBRARY} {sys.executable} -s -P -m boxguard.local; echo again >> starts; sleep 1; done' >out 2>&1 <&1 &
"""


def test_it_ends_with_its_server_and_its_keeper(new_box: Callable[[str], Client], home: Path) -> None:
    client = new_box("guarded")
    # Nothing but the box itself: this test, and a program with another HOME, go on.
    (other,) = [psutil.Popen(["sleep", "600"], env={"PATH": os.environ["PATH"], "HOME": str(home)})]
    try:
        client.run(KEEPER)
        until(
            lambda: not processes.is_server(client.box, client.running.pid, client.running.created), "the server ended"
        )
        beside = int((client.box.home / "beside").read_text())
        until(lambda: not processes.members(client.box), "everything of the box ended")
        assert not psutil.pid_exists(beside)
        assert not (client.box.home / "starts").exists()
        assert other.is_running()
    finally:
        other.terminate()
        other.wait()
    # Its disk is there, and it starts again.
    identity = client.box.identity()
    assert identity is not None
    again = connect(client.box, identity, launch.start(client.box), home)
    assert again.run("cat beside").stdout.strip() == str(beside).encode()


def test_it_is_refused_where_there_is_no_local_box(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": LIBRARY}
    done = psutil.Popen([sys.executable, "-s", "-P", "-m", "boxguard.local"], env=environment)
    assert done.wait(60) == 1
