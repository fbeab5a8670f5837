"""A `boxctl` for module tests: keeps its state in one JSON file, runs nothing, and writes down how it was called."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(os.environ["GPUBOX_ROOT"])
STATE = ROOT / "fake.json"
State = dict[str, dict[str, dict[str, Any]]]


def main() -> int:
    """Do one command."""
    argv = sys.argv[1:]
    stdin = sys.stdin.read() if not sys.stdin.isatty() else ""
    with (ROOT / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps({"argv": argv, "stdin": stdin}) + "\n")
    state: State = json.loads(STATE.read_text()) if STATE.exists() else {"services": {}, "jobs": {}}
    code, answer = command(state, argv, stdin)
    STATE.write_text(json.dumps(state))
    sys.stdout.write(answer if isinstance(answer, str) else json.dumps(answer) + "\n")
    return code


def command(state: State, argv: list[str], stdin: str) -> tuple[int, Any]:
    """The exit code and what goes to stdout."""
    if argv[0] == "status":
        return 0, {"services": list(state["services"].values()), "jobs": list(state["jobs"].values()), "converge": None}
    if argv[0] == "logs":
        return 0, "".join(f"line {number} of {argv[1]}\n" for number in range(int(argv[3])))
    if argv[0] == "job":
        return job(state["jobs"], argv[1], argv[2], stdin)
    return service(state["services"], argv[1], argv[2], stdin, check="--check" in argv)


def job(jobs: dict[str, dict[str, Any]], verb: str, name: str, stdin: str) -> tuple[int, Any]:
    """`job start|wait|remove`; a job whose argv is `fails` ends badly, one whose argv is `hangs` never ends."""
    if verb == "remove":
        return (0, {"removed": jobs.pop(name)}) if name in jobs else (1, {"error": f"no job `{name}`"})
    if verb == "start":
        spec = json.loads(stdin)
        old = jobs.get(name)
        if old and old["key"] == spec["key"] and old["state"] in {"running", "done"}:
            return 0, {"job": old, "changed": False}
        jobs[name] = {"name": name, "key": spec["key"], "state": "running", "spec": spec, "exit_code": None}
        return 0, {"job": jobs[name], "changed": True}
    if jobs[name]["spec"]["argv"] == ["hangs"]:
        return 1, {"error": "still running"}
    bad = jobs[name]["spec"]["argv"] == ["fails"]
    times = {"started": "2026-01-02T03:04:05Z", "ended": "2026-01-02T03:05:05Z"}
    jobs[name].update(state="failed" if bad else "done", exit_code=7 if bad else 0, **times)
    if bad:
        jobs[name]["last_error"] = "it broke"
        return 1, {"error": "the job failed"}
    for path in filter(None, [jobs[name]["spec"]["env"].get("MAKES")]):
        Path(path).touch()
    return 0, {"job": jobs[name]}


def service(
    services: dict[str, dict[str, Any]], verb: str, name: str, stdin: str, *, check: bool
) -> tuple[int, dict[str, Any]]:
    """`service apply|start|stop|remove`."""
    if verb == "apply":
        spec = json.loads(stdin)
        before = services.get(name, {}).get("spec", {})
        if before != spec and not check:
            services[name] = {"name": name, "state": "running", "spec": spec, "restarts": 0}
        return 0, {"changed": before != spec, "diff": {"before": before, "after": spec}}
    if verb == "remove":
        del services[name]
    else:
        services[name]["state"] = {"start": "running", "stop": "stopped"}[verb]
    return 0, {"service": services.get(name)}


if __name__ == "__main__":
    sys.exit(main())
