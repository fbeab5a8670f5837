"""Like `ninja -v -j N` with the file that torch writes: what has an output is not made again, the first failure lets
the others finish and starts none."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def main() -> int:
    jobs = int(sys.argv[sys.argv.index("-j") + 1])
    edges = re.findall(r"^build (\S+): cuda_compile (\S+)$", Path("build.ninja").read_text(), re.MULTILINE)
    left = [(out, source) for out, source in edges if not Path(out).exists()]
    total, done, failed = len(left), 0, False
    running: dict[subprocess.Popen[bytes], str] = {}
    while (left and not failed) or running:
        while left and not failed and len(running) < jobs:
            out, source = left.pop(0)
            command = f"{sys.executable} ../../unit.py -c {source} -o {out}"
            # As the real one does: each command in a group of its own.
            running[subprocess.Popen(["sh", "-c", f"{command}; exit $?"], process_group=0)] = out
        first = next(iter(running))
        first.wait()
        for process in [process for process in running if process.poll() is not None]:
            out = running.pop(process)
            if process.returncode:
                failed = True
                sys.stdout.write(f"FAILED: {out}\n")
            else:
                done += 1
                sys.stdout.write(f"[{done}/{total}] nvcc -c /source/{Path(out).stem}.cu -o {out}\n")
            sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
