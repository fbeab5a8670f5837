"""A small engine with an OpenAI API, to run on a box: `python3 standin_engine.py PORT KEY LOG [MODEL [WORDS PAUSE]]`.

Answers every chat with the number of its request, as SSE where that is asked for, and writes requests to LOG as lines
of JSON. With WORDS, so many numbered words follow in a stream, one every PAUSE seconds: time to be in the middle of it.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, KEY, LOG = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
MODEL = sys.argv[4] if len(sys.argv) > 4 else "small-gpt"
WORDS, PAUSE = (int(sys.argv[5]), float(sys.argv[6])) if len(sys.argv) > 6 else (0, 0.0)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The list of models."""
        self._send(200, json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}))

    def do_POST(self) -> None:
        """A chat."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with LOG.open("a") as log:
            log.write(json.dumps({"path": self.path, "body": body}) + "\n")
        words = ["answer ", f"{len(LOG.read_text().splitlines())}"]
        common = {"id": "chat-1", "created": 1, "model": MODEL}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join(words)}
            self._send(200, json.dumps({**common, "choices": [{"index": 0, "message": message}]}))
            return
        words += [f" w{number}" for number in range(1, WORDS + 1)]
        pieces = [json.dumps({**common, "choices": [{"index": 0, "delta": {"content": word}}]}) for word in words]
        events = [f"data: {piece}\n\n" for piece in [*pieces, "[DONE]"]]
        if WORDS and self._allowed():
            self._trickle(events)
        else:
            self._send(200, "".join(events), "text/event-stream")

    def _allowed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {KEY}"

    def _trickle(self, events: list[str]) -> None:
        """One event after another; its end is the end of the connection."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in events:
            self.wfile.write(event.encode())
            time.sleep(PAUSE)

    def _send(self, status: int, text: str, kind: str = "application/json") -> None:
        if not self._allowed():
            status, text = 401, "{}"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None:
        """Nothing on stderr."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
