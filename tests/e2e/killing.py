"""`python -m e2e.killing`: runs stories of gpubox in forks of itself, each of which may kill itself at a chosen point.

A job is a line of JSON on stdin: `verb`, `kill_at`, `delay`, `grace`, `directory`, `env`; the answer is one too:
`code`. A fork has everything imported already, so a story takes a fraction of a second. The points lie before each call
of the provider's API and before each write to the ledger: between two of them nothing is changed that anybody else
could see.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import httpx
from botocore.httpsession import URLLib3Session

from gpubox import backup, backups, orders, renting, takedown_look
from gpubox import down as down_story
from gpubox import up as up_story
from gpubox.backup import Backup, Plan
from gpubox.converge.progress import Board, Silent
from gpubox.errors import GpuboxError
from gpubox.ledger import Ledger
from gpubox.listing import boxes
from gpubox.providers import ec2
from gpubox.providers.clock import Wall
from gpubox.providers.compshare.api import Api as CompshareApi
from gpubox.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.ledger import BoxRecord
    from gpubox.takedown import Plan as Teardown

NAME = "mybox"
_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPaperPaperPaperPaperPaperPaperPaperPaperPape"
WRITES = ("add", "update", "audit", "note_balance", "note_backup")


class Points:
    """Counts what is passed, and kills this process at the wanted one, or `delay` seconds after that.

    The names of all go to a file.
    """

    def __init__(self, kill_at: int | None, delay: float, names: Path) -> None:
        self._kill_at = kill_at
        self._delay = delay
        self._names = names
        self._seen = 0

    def passed(self, name: str) -> None:
        """One more."""
        self._seen += 1
        with self._names.open("a") as file:
            file.write(f"{name}\n")
        if self._seen == self._kill_at:
            if self._delay:
                threading.Timer(self._delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
            else:
                os.kill(os.getpid(), signal.SIGKILL)

    def before(self, owner: type, method: str, name: Callable[..., str]) -> None:
        """Have each call of a method be a point."""
        original = getattr(owner, method)

        @functools.wraps(original)
        def wrapped(*args: Any, **words: Any) -> Any:  # noqa: ANN401
            self.passed(name(*args, **words))
            return original(*args, **words)

        setattr(owner, method, wrapped)


def main() -> None:
    """Until stdin ends."""
    importlib.import_module("ucloud.client")  # once for all forks
    _read_definitions()
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(job)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(json.dumps({"code": os.waitstatus_to_exitcode(status)}) + "\n")
        sys.stdout.flush()


def _read_definitions() -> None:
    """boto3 reads megabytes of AWS's definitions for every session: here once for all forks."""
    import boto3
    import botocore.session
    from botocore.loaders import create_loader

    loader = create_loader()
    setattr(botocore.session, "create_loader", lambda *_: loader)  # noqa: B010 - it is another kind of function
    for service in ("ec2", "ssm", "pricing", "service-quotas"):
        boto3.session.Session(aws_access_key_id="a", aws_secret_access_key="a").client(service, "us-east-1")


def _last_part(_client: object, method: str = "", url: object = "", **_: object) -> str:
    return str(url).rpartition("/")[2]


def _aws_operation(request: Any) -> str:  # noqa: ANN401 - botocore has no types
    if target := request.headers.get("X-Amz-Target"):
        return str(target if isinstance(target, str) else target.decode()).rpartition(".")[2]
    body = request.body.decode() if isinstance(request.body, bytes) else str(request.body)
    return dict(parse_qsl(body)).get("Action", str(request.url))


def _run(job: dict[str, Any]) -> None:
    """One story, to its end or to the kill."""
    code = 70
    try:
        os.chdir(job["directory"])
        os.environ.update(job["env"])
        points = Points(job["kill_at"], job["delay"], Path(f"points-{job['verb']}"))
        points.before(httpx.Client, "request", lambda *args, **words: f"call {_last_part(*args, **words)}")
        points.before(CompshareApi, "once", lambda _, action, *__: f"call {action}")
        points.before(URLLib3Session, "send", lambda _, request: f"call {_aws_operation(request)}")
        for write in WRITES:
            points.before(Ledger, write, lambda *args, write=write, **words: f"{write} {args[2:]} {sorted(words)}")
        _hurry(job["grace"])
        code = _VERBS[job["verb"]]()
    except GpuboxError as error:
        Path("error").write_text(f"{type(error).__name__}: {error.message} | {error.hint}")
        code = error.exit_code
    except BaseException:  # noqa: BLE001 - told to the test
        Path("error").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def _hurry(grace: float) -> None:
    """Nobody waits here for what a simulated provider does at once; and nobody logs in to boxes on paper."""
    sleep = Wall.sleep
    instead: list[tuple[object, str, object]] = [
        (Wall, "sleep", lambda self, seconds: sleep(self, min(seconds, 0.01))),
        (orders, "GRACE", timedelta(seconds=grace)),
        (ec2, "_LITTER", timedelta(0)),
        (renting, "first_contact", lambda *_, **__: _HOST_KEY),
        (renting, "ensure_identity", lambda: Path("id")),
        (up_story, "_bring", _bring),
        (takedown_look, "_asked", _asked),
        (down_story, "_stop", lambda _: 0),
        (down_story, "stop_tunnels", lambda _: None),
        (backup, "carry_out", _carry_out),
    ]
    for owner, name, value in instead:
        setattr(owner, name, value)


def _bring(ledger: Ledger, record: BoxRecord, *_: object, **__: object) -> up_story.Up:
    """The converge, without a box: gpubox has been there."""
    record = ledger.update(record.name, root="/root/autodl-tmp/gpubox", data_dir="/root/autodl-tmp", digest="x")
    ledger.audit(record.name, "converge", "done", {})
    return up_story.Up(record, {}, changed=True)


def _asked(blank: Teardown, *_: object) -> Teardown:
    """The look at a box: something runs there, and it has files."""
    data = Plan(NAME, "/root/autodl-tmp/gpubox", "/root/autodl-tmp", "/root", (), (), ())
    return replace(blank, seen="listed", data=data, running=("vllm",))


def _carry_out(ledger: Ledger, record: BoxRecord, **_: object) -> Backup:
    """A backup of it, as the real one leaves it."""
    place = Path(f"backup-{time.time_ns()}").absolute()
    (place / backups.FILES).mkdir(parents=True)
    manifest = backups.Manifest(NAME, "2026-11-01T08:00:00+00:00", "/r", "/d", "/root", (), (), ())
    sha256 = backups.write(place, manifest)
    ledger.note_backup(record.name, place, files=0, size=0, sha256=sha256)
    return Backup(record.name, place, 0, 0, 0, 0.0, sha256, ())


def _up() -> int:
    up_story.up(NAME, board=Board(Silent()), box_file=Path("mybox.yml"), full=True)
    return 0


def _down() -> int:
    receipt = down_story.down(NAME, board=Board(Silent()), confirm=lambda _: True, results=Path("receipts"))
    Path("down.json").write_text(json.dumps(asdict(receipt)))
    return 0


def _look() -> int:
    """What `ls` and `sweep` tell."""
    listed = {one.record.name: [one.record.state, one.record.provider_ref, one.in_doubt] for one in boxes()}
    swept = sweep()
    marks = {seen.box.ref: [seen.mark, seen.name, seen.box.billing] for seen in swept.boxes}
    settled = [one.verdict for one in swept.settled]
    Path("look.json").write_text(json.dumps({"ls": listed, "sweep": marks, "settled": settled}))
    return 0


_VERBS = {"up": _up, "down": _down, "look": _look}

if __name__ == "__main__":
    main()
