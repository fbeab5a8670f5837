"""`python -m gpubox.model_copy`: one copy, for as long as whoever started it lives; what to do is a line on stdin.

It says on stdout `held` once the box knows of it, and at its end a line with how it ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import asdict
from typing import Any

from gpubox import model_copy
from gpubox.boxfile import BoxFile
from gpubox.converge.variables import models
from gpubox.errors import GpuboxError
from gpubox.ledger import Ledger
from gpubox.model_copy.receiver import Receiver
from gpubox.model_copy.telling import Telling
from gpubox.remote.host import Host
from gpubox.remote.login import Login


def main() -> int:
    """Exit code 0, 1, or 130 when it was ended."""
    # Whatever a shell starts in the background ignores it, and so would this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    wanted = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        return _copy(wanted["name"], BoxFile.model_validate(wanted["box"]), wanted["root"])
    except KeyboardInterrupt:
        return 130
    except GpuboxError as error:
        _say({"error": type(error).__name__, "message": error.message, "where": error.where, "hint": error.hint})
        return 1


def _copy(name: str, box: BoxFile, root: str) -> int:
    with Ledger() as ledger:
        login = Login.of(ledger.get(name))
    with Host(login) as host, Telling(Receiver(host, root, models.path(box, root) or "")) as told:
        _say("held")
        try:
            copied = model_copy.bring(host, box, root=root, tell=told.tell)
        except GpuboxError as error:
            told.failed(error)
            raise
        told.done()
    _say({"copied": asdict(copied) if copied else None})
    return 0


def _end_with_parent() -> None:
    """Its end of stdin closes when it ends, however that comes about."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGINT)


def _say(words: Any) -> None:  # noqa: ANN401 - JSON
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
