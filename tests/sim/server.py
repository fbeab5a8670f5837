"""The HTTP side of every simulated provider: a real server on 127.0.0.1, its log of calls, its faults.

`/_sim/...` steers a simulator from outside, as one in another process must be: see `_control`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from sim.faults import from_json
from sim.threads import Handler, Http

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from decimal import Decimal

    from sim.clock import SimClock
    from sim.faults import Fault, FaultPlan

_HTML = b"<html><head><title>%d</title></head><body>nginx</body></html>"


@dataclass(frozen=True, slots=True)
class Request:
    """What the client sent; the names of headers are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401  # whatever JSON can be
        """The body; an empty one is `{}`. Raises `ValueError`."""
        return json.loads(self.body) if self.body else {}

    def form(self) -> dict[str, str]:
        """The body as a posted form."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Response:
    """What it gets."""

    body: bytes
    status: int = 200
    content_type: str = "application/json; charset=utf-8"

    @classmethod
    def of(cls, value: object, status: int = 200) -> Response:
        """As JSON."""
        return cls(json.dumps(value, ensure_ascii=False).encode(), status)


@dataclass(slots=True)
class Call:
    """One call, as the simulator saw it. `answered`: the client got all of the answer. No secrets are kept."""

    operation: str
    at: datetime
    parameters: dict[str, Any]
    faults: list[str] = field(default_factory=list)
    done: bool = False
    answered: bool = False
    response: bytes = b""


class App(Protocol):
    """One simulated provider. `serve` calls it from one thread at a time."""

    faults: FaultPlan
    clock: SimClock

    def operation(self, request: Request) -> tuple[str, dict[str, Any]]:
        """The name of the operation, for faults and the log, and its parameters without secrets."""

    def answer(self, request: Request) -> Response:
        """Does what the request asks."""

    def success(self, request: Request) -> Response:
        """The answer of a call that was done, for one that was not."""

    def error(self, request: Request, code: str, message: str) -> Response:
        """The provider's own form of an error; without a code, of an internal one."""

    def bills(self) -> dict[str, Decimal]:
        """What each box has cost, the released ones too."""


class Server:
    """A running simulator. `calls` is the log."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.calls: list[Call] = []
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self.mistakes: list[BaseException] = []
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.simulator, self._http.mistakes = self, self.mistakes
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def count(self, operation: str) -> int:
        """How many calls of that operation came in, whatever became of them."""
        return sum(call.operation == operation for call in list(self.calls))

    def operations(self) -> list[str]:
        """Their names, in the order of the calls."""
        return [call.operation for call in list(self.calls)]

    def close(self) -> None:
        """Answers nothing any more; calls that hang are dropped."""
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)


@contextlib.contextmanager
def serve(app: App) -> Iterator[Server]:
    """`with serve(app) as server:` answers at `server.url` from threads of this process.

    Raises at the end what the app raised in between: a broken simulator must not pass for a broken network.
    """
    server = Server(app)
    try:
        yield server
    finally:
        server.close()
        if server.mistakes:
            raise RuntimeError("the simulator itself failed") from server.mistakes[0]


class _Http(Http):
    simulator: Server


class _Handler(Handler):
    server: _Http

    def _any(self) -> None:
        split = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, split.path, dict(parse_qsl(split.query)), headers, body)
        if split.path.startswith("/_sim/"):
            self._send(_control(self.server.simulator, request))
            return
        self._call(request)

    do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815  # the names are http.server's

    def _call(self, request: Request) -> None:
        simulator = self.server.simulator
        app = simulator.app
        operation, parameters = app.operation(request)
        faults = app.faults.take(operation)
        call = Call(operation, app.clock.now(), parameters, [fault.kind for fault in faults])
        with simulator.lock:
            simulator.calls.append(call)
        for fault in faults:
            if fault.kind == "act" and not fault.done and fault.action:
                fault.action()
        response = _planned(app, request, faults)
        if response is None and not any(fault.kind == "drop_before" for fault in faults):
            with simulator.lock:
                response = app.answer(request)
            call.done = True
        for fault in faults:
            if fault.kind == "act" and fault.done and fault.action:
                fault.action()
            if fault.kind in ("hang", "slow") and simulator.closing.wait(fault.seconds):
                response = None
            if fault.kind in ("drop_before", "drop_after"):
                response = None
            if fault.kind == "garbage" and response is not None:
                response = Response(response.body[: len(response.body) // 2])
        if response is None:
            self._hang_up()
            return
        call.response = response.body
        self._send(response)
        call.answered = True

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)
        self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is http.server's
        """`calls` is the log."""


def _planned(app: App, request: Request, faults: list[Fault]) -> Response | None:
    """What is answered without doing anything; None: it shall be done."""
    for fault in faults:
        if fault.kind == "error":
            return app.error(request, fault.code, fault.message)
        if fault.kind == "lie":
            return app.success(request)
        if fault.kind == "http":
            return Response(_HTML % fault.status, fault.status, "text/html")
        if fault.kind == "html":
            return Response(_HTML % 200, 200, "text/html")
        if fault.kind == "garbage" and not fault.done:
            return app.success(request)
    return None


def _control(simulator: Server, request: Request) -> Response:
    """`now`, `calls`, `bills` show; `advance` {seconds}, `faults` [fault...], `stock` {no_stock_seconds}, steer."""
    app, verb = simulator.app, request.path.removeprefix("/_sim/")
    if verb == "advance":
        app.clock.advance(float(request.json()["seconds"]))
    elif verb == "faults":
        app.faults.restart(from_json(values) for values in request.json())
    elif verb == "stock":
        app.faults.stock()
        if (seconds := request.json().get("no_stock_seconds", 0)) != 0:
            app.faults.no_stock(seconds)
    elif verb == "calls":
        return Response.of([{"operation": call.operation, "parameters": call.parameters} for call in simulator.calls])
    elif verb == "bills":
        with simulator.lock:
            return Response.of({ref: str(amount) for ref, amount in app.bills().items()})
    return Response.of({"now": app.clock.now().isoformat()})
