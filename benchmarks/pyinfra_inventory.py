"""pyinfra's inventory: the box of the measurement, with its pinned host key."""

import os
from pathlib import Path

home = Path(os.environ["GPUBOX_BENCH_HOME"])
boxes = [
    (
        "127.0.0.1",
        {
            "ssh_port": int(os.environ["GPUBOX_BENCH_PORT"]),
            "ssh_user": "root",
            "ssh_key": str(home / "keys" / "id_ed25519"),
            "ssh_known_hosts_file": str(home / "bench_known_hosts"),
            "ssh_strict_host_key_checking": "accept-new",
        },
    )
]
