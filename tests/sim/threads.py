"""What every simulated HTTP server is made of: threads that end with the test, clients that may be killed."""

from __future__ import annotations

import contextlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Http(ThreadingHTTPServer):
    """A server of daemon threads; what goes wrong in it is kept in `mistakes`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    mistakes: list[BaseException]

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # as its base
        """A client that was killed in mid-call is what the tests do; anything else is a mistake in the simulator."""
        if (error := sys.exc_info()[1]) is not None and not isinstance(error, ConnectionError):
            self.mistakes.append(error)


class Handler(BaseHTTPRequestHandler):
    """Keeps connections, and takes their end for an end."""

    protocol_version = "HTTP/1.1"
    # Without these every answer waits 40 ms for the acknowledgement of its first line.
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def handle_one_request(self) -> None:
        """One request, or none when the client has gone."""
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()
            return
        self.close_connection = True
