"""`python -m gpubox.providers.local_box DIRECTORY READY_FD`: the server of one local box, as a daemon.

Started by `gpubox.providers.local`. It writes one JSON line to the descriptor READY_FD: what runs, or what went wrong.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path

from gpubox.errors import GpuboxError
from gpubox.providers.local_box.layout import BoxDir, Running
from gpubox.providers.local_box.server import serve


def main() -> int:
    box, descriptor = BoxDir(Path(sys.argv[1])), int(sys.argv[2])
    if os.fork():
        os._exit(0)  # whoever started us waits for this process only; the server is nobody's zombie later
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")

    told = False

    def tell(message: dict[str, object]) -> None:
        nonlocal told
        told = True
        os.write(descriptor, json.dumps(message).encode() + b"\n")
        os.close(descriptor)

    def ready(running: Running) -> None:
        tell(running.model_dump())

    try:
        asyncio.run(serve(box, ready))
    except (GpuboxError, OSError) as error:
        logging.exception("the server ends")
        if not told:
            tell({"error": str(error), "hint": getattr(error, "hint", None)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
