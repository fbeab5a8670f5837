"""Makes `fixtures/web-ui-0.11.4/`: what an open-webui before the tables of 0.12 leaves behind. Run by hand, once.

`python tests/keeping/make_old_web_ui.py .../bin/open-webui DIRECTORY`, with the real open-webui 0.11.4 in its own
environment. Three users, two chats, one upload; its database was at /old/gpubox/open-webui.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from keeping.web_ui_people import Person

EMAIL, PASSWORD, SECRET = "admin@gpubox.local", "admin-of-old-1", "secret-of-old-0123456789"
# Where its box had it: an upload's path is absolute.
OLD = "/old/gpubox/open-webui"
ENGINE = Path(__file__).resolve().parents[1] / "box" / "standin_engine.py"


def main(program: str, target: Path) -> None:
    """Start it, use it, end it, keep what it has left."""
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        data.mkdir()
        port, engine = _free(), _free()
        argv = [sys.executable, str(ENGINE), str(engine), "k", f"{place}/asked"]
        children = [subprocess.Popen(argv)]
        try:
            served = [program, "serve", "--host", "127.0.0.1", "--port", str(port)]
            children.append(subprocess.Popen(served, env={**os.environ, **_environment(data, engine)}, cwd=data))
            _wait(port)
            _use(port)
        finally:
            for child in reversed(children):
                child.terminate()
                child.wait()
        _keep(data, target, Path(program))


def _use(port: int) -> None:
    admin = Person(port, EMAIL, PASSWORD)
    admin.adds("Old A", "a@old.example", "of-old-a-123")
    admin.adds("Old B", "b@old.example", "of-old-b-123")
    admin.says("of the old admin")
    one = Person(port, "a@old.example", "of-old-a-123")
    chat = one.says("with a note", file=one.uploads("note.txt", "written long ago"))
    one.says("and more", chat)


def _keep(data: Path, target: Path, program: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with (
        contextlib.closing(sqlite3.connect(f"{(data / 'webui.db').as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(target / "webui.db", isolation_level=None)) as copy,
    ):
        source.backup(copy)
        copy.execute("UPDATE file SET path = replace(path, ?, ?)", (str(data), f"{OLD}/data"))
        (revision,) = copy.execute("SELECT version_num FROM alembic_version").fetchone()
        copy.execute("PRAGMA journal_mode = DELETE")
        copy.execute("VACUUM")
    packed = gzip.compress((target / "webui.db").read_bytes(), 9, mtime=0)
    (target / "webui.db").unlink()
    (target / "webui.db.gz").write_bytes(packed)
    (upload,) = (data / "uploads").iterdir()
    (target / upload.name).write_bytes(upload.read_bytes())
    info = next((program.parents[1] / "lib").glob("python*/site-packages/open_webui-*.dist-info"))
    version = info.name.removeprefix("open_webui-").removesuffix(".dist-info")
    (target / "version.json").write_text(json.dumps({"open_webui": version, "alembic": revision}) + "\n")


def _environment(data: Path, engine: int) -> dict[str, str]:
    return {
        "USE_SLIM_DOCKER": "true",
        "ENV": "prod",
        "DATA_DIR": str(data),
        "WEBUI_SECRET_KEY": SECRET,
        "WEBUI_ADMIN_EMAIL": EMAIL,
        "WEBUI_ADMIN_PASSWORD": PASSWORD,
        "WEBUI_ADMIN_NAME": "Admin",
        "ENABLE_PERSISTENT_CONFIG": "False",
        "ENABLE_SIGNUP": "False",
        "ENABLE_OLLAMA_API": "False",
        "OPENAI_API_BASE_URLS": f"http://127.0.0.1:{engine}/v1",
        "OPENAI_API_KEYS": "k",
        "OFFLINE_MODE": "True",
        "BYPASS_MODEL_ACCESS_CONTROL": "True",
        "BYPASS_EMBEDDING_AND_RETRIEVAL": "True",
        "ENABLE_TITLE_GENERATION": "False",
        "ENABLE_TAGS_GENERATION": "False",
        "ENABLE_FOLLOW_UP_GENERATION": "False",
        "NO_PROXY": "127.0.0.1",
        "HF_HOME": str(data / "hf"),
        "TIKTOKEN_CACHE_DIR": str(data / "tiktoken"),
    }


def _wait(port: int) -> None:
    deadline = time.monotonic() + 300
    while True:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        if time.monotonic() > deadline:
            raise RuntimeError("open-webui did not start")
        time.sleep(0.5)


def _free() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
    return port


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
