"""`python3 releases.py PORT DIRECTORY`: files over HTTP with ranges. `cut` in the directory: bytes after which one
answer breaks off, once."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """GET of a file below `place`."""

    place = Path()
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.place / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        cut = self.place / "cut"
        if path.suffix != ".txt" and cut.exists():
            self.wfile.write(data[start : int(cut.read_text())])
            cut.unlink()
            self.close_connection = True
            return
        self.wfile.write(data[start:])

    def log_message(self, *_: object) -> None:
        """Nothing."""


def server(port: int, place: Path) -> ThreadingHTTPServer:
    """A server of that directory on 127.0.0.1."""
    handler = type("Of", (Handler,), {"place": place})
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


if __name__ == "__main__":
    server(int(sys.argv[1]), Path(sys.argv[2])).serve_forever()
