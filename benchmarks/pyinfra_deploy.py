"""The playbook's checks as pyinfra operations: directories, files by content, the service, a real completion."""

import io
import json
import os
from pathlib import Path

from pyinfra.operations import files, server

state = json.loads(Path(os.environ["GPUBOX_BENCH_STATE"]).read_text())

for directory in state["directories"]:
    files.directory(name=f"directory {directory}", path=directory)
for path, text in state["files"].items():
    files.put(name=f"file {path}", src=io.StringIO(text), dest=path, mode=False)
for service in state["services"]:
    server.shell(
        name=f"service {service} runs",
        commands=[f"{state['root']}/bin/boxctl status | grep -q running"],
    )
server.shell(
    name="the engine answers",
    commands=[
        (
            f"curl -fsS http://127.0.0.1:{state['port']}/v1/chat/completions -H 'Content-Type: application/json' "
            '-d \'{"model":"small-gpt","max_tokens":8,"messages":[{"role":"user","content":"hi"}]}\' >/dev/null'
        )
    ],
)
