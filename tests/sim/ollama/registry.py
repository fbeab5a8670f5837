"""A simulated registry of Ollama's models: manifests as registry.ollama.ai has them, of the sizes that are wanted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from typing import TYPE_CHECKING, ClassVar

from sim.threads import Handler, Http

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_KINDS = ("model", "template", "license", "params")


class _Registry(Handler):
    models: ClassVar[Mapping[str, list[int]]] = {}

    def _answer(self) -> None:
        """`/v2/<owner>/<name>/manifests/<tag>`, of what `models` names so."""
        _, _, owner, name, _, tag = [*self.path.split("/"), *[""] * 6][:6]
        sizes = self.models.get(f"{owner}/{name}:{tag}")
        if sizes is None:
            return self._say(404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]})
        if MANIFEST not in self.headers.get("Accept", ""):
            return self._say(406, {"errors": [{"code": "MANIFEST_INVALID"}]})
        config, *layers = (_blob(f"{name} {number}", size) for number, size in enumerate(sizes))
        kinds = (f"application/vnd.ollama.image.{kind}" for kind in _KINDS)
        return self._say(200, {
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", **config},
            "layers": [{"mediaType": kind, **layer} for kind, layer in zip(kinds, layers, strict=False)],
        })  # fmt: skip

    def _say(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = _answer  # noqa: N815  # the name is http.server's

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _blob(seed: str, size: int) -> dict[str, object]:
    return {"digest": f"sha256:{hashlib.sha256(seed.encode()).hexdigest()}", "size": size}


@contextlib.contextmanager
def registry(models: Mapping[str, list[int]]) -> Iterator[str]:
    """Its URL; `models`: bytes of the config and the layers of `owner/name:tag`."""
    server = Http(("127.0.0.1", 0), type("Of", (_Registry,), {"models": models}))
    server.mistakes = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
        assert not server.mistakes
