#!/usr/bin/env python3
"""A simulated `ollama` 0.32.7, as far as gpubox goes: one file, standard library only, to be put into an archive.

Read in its sources: cmd/cmd.go, envconfig/config.go, server/{routes,images,download,create,sched}.go, docs/api.md.
What it does as the real one: command line and environment (an unknown OLLAMA_ variable ends it), the key pair below
HOME, the store of blobs and manifests, the pruning of partial files at the start, progress lines, and how far a pull is
being noted only when a part ends or the client goes. Models and faults stand in the JSON file that OLLAMA_SIM names:
`models` {name: [sizes of layers]}, `rate` bytes/s, `part` bytes, `faults` [[at bytes, "stall"|"cut"|"full"], ...]
(each once), `answer_seconds`. `<that file>.sent` grows by one byte per KiB that the registry sends.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# envconfig/config.go, AsMap and UseAuth, without their prefix; SIM is the simulation's own.
KNOWN = {
    "DEBUG", "DEBUG_LOG_REQUESTS", "GO_TEMPLATE", "FLASH_ATTENTION", "KV_CACHE_TYPE", "GPU_OVERHEAD", "IGPU_ENABLE",
    "HOST", "KEEP_ALIVE", "LLM_LIBRARY", "LOAD_TIMEOUT", "MAX_LOADED_MODELS", "MAX_TRANSFER_STREAMS", "MAX_QUEUE",
    "MODELS", "NO_CLOUD", "NOHISTORY", "NOPRUNE", "NUM_PARALLEL", "ORIGINS", "SCHED_SPREAD", "CONTEXT_LENGTH",
    "EDITOR", "REMOTES", "VULKAN", "AUTH", "SIM",
}  # fmt: skip
VERSION = "0.32.7"
CHUNK = 1 << 16


class FaultError(Exception):
    """What the stream says as `error`."""


class Store:
    """The models directory, and what the plan says of the registry."""

    def __init__(self) -> None:
        self.root = Path(os.environ["OLLAMA_MODELS"])
        self.blobs = self.root / "blobs"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.plan_path = Path(os.environ["OLLAMA_SIM"])
        self.plan: dict[str, Any] = json.loads(self.plan_path.read_text())
        self.loaded: dict[str, dict[str, Any]] = {}
        self.downloading = threading.Lock()
        if os.environ.get("OLLAMA_NOPRUNE") not in ("1", "true"):
            for path in self.blobs.glob("*-partial*"):
                path.unlink()

    def count(self, what: str, number: int = 1) -> None:
        with Path(f"{self.plan_path}.{what}").open("ab") as file:
            file.write(b"x" * number)

    def fault(self, at: int) -> str | None:
        """The fault that is due when so many bytes are there; each one happens once."""
        used = Path(f"{self.plan_path}.used")
        done = used.read_text().splitlines() if used.exists() else []
        for number, (due, kind) in enumerate(self.plan.get("faults", [])):
            if at >= due and str(number) not in done:
                used.write_text("\n".join([*done, str(number)]))
                return str(kind)
        return None

    def manifest(self, name: str) -> Path:
        return self.root / "manifests" / full(name).replace(":", "/")

    def models(self) -> list[str]:
        found = sorted((self.root / "manifests").glob("*/*/*/*"))
        return [short("/".join(path.parts[-4:-1]) + ":" + path.name) for path in found]


def fail(kind: str | None) -> None:
    """What the real one says; kinds that are none of its sentences go by."""
    words = {
        "cut": "max retries exceeded: unexpected EOF",
        "full": "write: no space left on device",
        "unknown": "pull model manifest: file does not exist",
        "rotten": "digest mismatch, file must be downloaded again",
    }
    if kind in words:
        raise FaultError(words[kind])


def full(name: str) -> str:
    """host/owner/model:tag."""
    model = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
    return ("registry.ollama.ai/library/", "registry.ollama.ai/", "")[model.count("/")] + model


def short(name: str) -> str:
    """As Ollama shows it."""
    return name.removeprefix("registry.ollama.ai/library/").removeprefix("registry.ollama.ai/")


def content(name: str, number: int, size: int) -> bytes:
    seed = hashlib.sha256(f"{name} {number}".encode()).digest()
    return (seed * (size // 32 + 1))[:size]


class Pull:
    """One layer on its way: parts that all go on at once."""

    def __init__(self, store: Store, data: bytes) -> None:
        self.store, self.data = store, data
        self.digest = hashlib.sha256(data).hexdigest()
        self.blob = store.blobs / f"sha256-{self.digest}"
        self.file = Path(f"{self.blob}-partial")
        size = int(store.plan.get("part", 1 << 20))
        self.parts = [[start, min(size, len(data) - start), 0] for start in range(0, len(data), size)]
        for number, part in enumerate(self.parts):
            note = Path(f"{self.file}-{number}")
            if note.exists():
                part[2] = json.loads(note.read_text())["Completed"]

    @property
    def done(self) -> int:
        return sum(part[2] for part in self.parts)

    def note(self, number: int) -> None:
        start, size, done = self.parts[number]
        note = {"N": number, "Offset": start, "Size": size, "Completed": done}
        Path(f"{self.file}-{number}").write_text(json.dumps(note))

    def step(self) -> None:
        """Every unfinished part goes on by a chunk."""
        with self.file.open("r+b" if self.file.exists() else "w+b") as file:
            for number, part in enumerate(self.parts):
                start, size, done = part
                piece = self.data[start + done : start + min(size, done + CHUNK)]
                if not piece:
                    continue
                file.seek(start + done)
                file.write(piece)
                part[2] += len(piece)
                self.store.count("sent", (len(piece) + 1023) // 1024)
                if part[2] == size:
                    self.note(number)
                time.sleep(len(piece) / float(self.store.plan.get("rate", 1e12)))

    def finish(self) -> None:
        self.file.rename(self.blob)
        for number in range(len(self.parts)):
            Path(f"{self.file}-{number}").unlink(missing_ok=True)


class Handler(BaseHTTPRequestHandler):
    """The API."""

    store: Store
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.path == "/api/version":
            self.say({"version": VERSION})
        elif self.path == "/api/tags":
            self.say({"models": [{"name": name, "model": name} for name in self.store.models()]})
        elif self.path == "/api/ps":
            self.say({"models": list(self.store.loaded.values())})
        elif self.path == "/v1/models":
            names = self.store.models()
            self.say(
                {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "library"} for name in names]}
            )
        elif self.path.startswith("/api/blobs/"):
            there = (self.store.blobs / self.path.rpartition("/")[2].replace(":", "-")).exists()
            self.say(None, 200 if there else 404)
        else:
            self.say("404 page not found", 404)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.path.startswith("/api/blobs/"):
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            if digest != self.path.rpartition("/")[2]:
                return self.say({"error": "digest mismatch"}, 400)
            (self.store.blobs / digest.replace(":", "-")).write_bytes(body)
            return self.say(None, 201)
        asked = json.loads(body)
        routes = {"/api/pull": self.pull, "/api/create": self.create, "/v1/chat/completions": self.chat}
        if self.path not in routes:
            return self.say("404 page not found", 404)
        return routes[self.path](asked)

    def pull(self, asked: dict[str, Any]) -> None:
        self.stream()
        try:
            self.event({"status": "pulling manifest"})
            sizes = self.store.plan["models"].get(asked["model"])
            if sizes is None:
                fail("unknown")
            layers = [self.layer(content(asked["model"], number, size)) for number, size in enumerate(sizes)]
            self.event({"status": "verifying sha256 digest"})
            for layer in layers:
                if hashlib.sha256(layer.blob.read_bytes()).hexdigest() != layer.digest:
                    layer.blob.unlink()
                    fail("rotten")
            self.event({"status": "writing manifest"})
            self.write_manifest(asked["model"], [layer.digest for layer in layers])
            self.event({"status": "success"})
        except FaultError as error:
            self.event({"error": str(error)})

    def layer(self, data: bytes) -> Pull:
        # Two requests for one blob are one download, as in blobDownloadManager.
        with self.store.downloading:
            layer, total = Pull(self.store, data), len(data)
            event = {"status": f"pulling {layer.digest[:12]}", "digest": f"sha256:{layer.digest}", "total": total}
            if layer.blob.exists():
                self.event({**event, "completed": total})
                return layer
            try:
                self.download(layer, event)
            finally:
                for number in range(len(layer.parts)):
                    layer.note(number)
            layer.finish()
            return layer

    def download(self, layer: Pull, event: dict[str, Any]) -> None:
        while layer.done < len(layer.data):
            kind = self.store.fault(layer.done)
            fail(kind)
            while kind == "stall":
                self.event({**event, "completed": layer.done})
                time.sleep(0.06)
            layer.step()
            self.event({**event, "completed": layer.done})

    def create(self, asked: dict[str, Any]) -> None:
        self.stream()
        for digest in asked["files"].values():
            blob = self.store.blobs / digest.replace(":", "-")
            if not blob.exists() or blob.read_bytes()[:4] != b"GGUF":
                return self.event({"error": "unsupported content type: unknown"})
            self.event({"status": f"using existing layer {digest}"})
        self.event({"status": "writing manifest"})
        self.write_manifest(asked["model"], list(asked["files"].values()), asked)
        return self.event({"status": "success"})

    def write_manifest(self, name: str, layers: list[str], asked: dict[str, Any] | None = None) -> None:
        path = self.store.manifest(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"layers": layers, "asked": asked}))

    def chat(self, asked: dict[str, Any]) -> None:
        name = short(full(asked["model"]))
        if name not in self.store.models():
            words = f'model "{asked["model"]}" not found, try pulling it first'
            return self.say({"error": {"message": words, "type": "not_found_error", "param": None, "code": None}}, 404)
        entry = self.store.loaded.setdefault(name, {"name": name, "model": name, "expires_at": stamp(300)})
        time.sleep(float(self.store.plan.get("answer_seconds", 0)))
        entry["expires_at"] = stamp(300)
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        if not asked.get("stream"):
            message = {"role": "assistant", "content": "Hello there"}
            return self.say({"model": name, "choices": [{"index": 0, "message": message}], "usage": usage})
        self.stream("text/event-stream")
        for word in ("Hello", " there"):
            self.sse(
                {"choices": [{"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}]}
            )
        self.sse({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}]})
        if (asked.get("stream_options") or {}).get("include_usage"):
            self.sse({"choices": [], "usage": usage})
        return self.line(b"data: [DONE]\n\n")

    def stream(self, kind: str = "application/x-ndjson") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, value: dict[str, Any]) -> None:
        self.line(json.dumps(value).encode() + b"\n")

    def sse(self, value: dict[str, Any]) -> None:
        self.line(b"data: " + json.dumps(value).encode() + b"\n\n")

    def line(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def say(self, value: object, status: int = 200) -> None:
        body = b"" if value is None else value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        # open-webui reads JSON that is called JSON only.
        self.send_header("Content-Type", "text/plain" if isinstance(value, str) else "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing."""


def say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def stamp(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def serve() -> None:
    key = Path.home() / ".ollama/id_ed25519"
    if not key.exists():
        key.parent.mkdir(parents=True, exist_ok=True)
        key.write_text("a key\n")
    host, _, port = os.environ.get("OLLAMA_HOST", "127.0.0.1:11434").rpartition(":")
    Handler.store = Store()
    server = ThreadingHTTPServer((host, int(port)), Handler)
    server.daemon_threads = True
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    say(f"Listening on {host}:{port} (version {VERSION})")
    server.serve_forever()


def main(words: list[str]) -> int:
    unknown = {name for name in os.environ if name.startswith("OLLAMA_")} - {f"OLLAMA_{name}" for name in KNOWN}
    if unknown:
        say(f"Error: unknown variables {sorted(unknown)}")
        return 1
    if words in (["--version"], ["-v"]):
        say(f"ollama version is {VERSION}")
    elif words in (["serve"], ["start"]):
        serve()
    else:
        say(f'Error: unknown command "{" ".join(words)}" for "ollama"')
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
