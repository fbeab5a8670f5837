"""`python -m boxctl.playbook <run directory>`: the program of the job `converge`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from boxctl import files
from boxctl.layout import Layout


def main(arguments: list[str]) -> int:
    """Run the playbook; when it ends well, write down what the box has become. Its exit code."""
    place = Path(arguments[0])
    layout = Layout(place.parents[1])
    about = files.read_json(place / "run.json") or {}
    bundle = layout.bundles / about["bundle"]
    program = layout.python.parent / "ansible-playbook"
    argv = [str(layout.python), str(program), "-i", "localhost,", "-c", "local", "-e", f"@{place / 'vars.json'}"]
    (layout.root / "cache" / "ansible" / "tmp").mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "ANSIBLE_LOG_PATH": str(place / "ansible.log")}
    done = subprocess.run([*argv, str(bundle / "playbooks" / about["playbook"])], env=env, check=False)
    code = done.returncode if done.returncode >= 0 else 128 - done.returncode
    files.write_json(place / "result.json", {"exit_code": code, "ended": time.time()})
    if code == 0:
        at = files.utc(time.time())
        files.write_json(
            layout.converged, {"digest": about["digest"], "bundle": about["bundle"], "run": about["run"], "at": at}
        )
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
