"""The guard on real boxes, with nobody else there: each limit powers the box off, and use of it does not."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko
import pytest

from box.guarded import ROOT, Guarded, engine
from gpubox.providers.first_guard import MARKER, shell_guard
from sim import ollama

if TYPE_CHECKING:
    from collections.abc import Iterator

    from box.testbox import TestBox

SAVED = "/root/autodl-fs/saved"
# A web hook that keeps what it is sent.
HOOK = """
import http.server, pathlib
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("/root/pushed", "ab") as file:
            file.write(body + b"\\n")
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", 9999), H).serve_forever()
"""


@pytest.fixture
def guarded(box: TestBox) -> Guarded:
    return Guarded(box)


@pytest.fixture
def client(box: TestBox) -> Iterator[paramiko.SSHClient]:
    kind, key = box.host_key.split()
    entry = paramiko.hostkeys.HostKeyEntry.from_line(f"[{box.host}]:{box.port} {kind} {key}")
    assert entry is not None
    assert entry.key is not None
    with paramiko.SSHClient() as client:
        client.get_host_keys().add(f"[{box.host}]:{box.port}", kind, entry.key)
        client.connect(box.host, box.port, box.user, box.password, allow_agent=False, look_for_keys=False, timeout=60)
        yield client


def _read_until(shell: paramiko.Channel, words: str) -> str:
    shell.settimeout(60)
    text = ""
    while words not in text:
        text += shell.recv(4096).decode(errors="replace")
    return text


def test_the_time_to_live_is_hard_but_said_and_saves_what_is_only_there(
    guarded: Guarded, client: paramiko.SSHClient
) -> None:
    box = guarded.box
    guarded.service("hook", argv=["/usr/bin/python3", "-c", HOOK], start_seconds=1)
    guarded.job("train", f"mkdir -p {ROOT}/results; trap 'echo weights > {ROOT}/results/checkpoint; exit 1' TERM;"
                " while :; do sleep 0.2; done")  # fmt: skip
    before = {"command": f"mkdir -p {SAVED} && echo $GPUBOX_GUARD_REASON > {SAVED}/why", "snapshot_to": SAVED}
    shell = client.invoke_shell()
    guarded.guard(ttl="12s", before_stop=before, urls=("json://127.0.0.1:9999/hook?key=s3cr3t",))
    _read_until(shell, "by then its time to live of 12 s is over")
    warned = guarded.state()
    assert (warned["stage"], warned["reason"]) == ("warned", "ttl")
    assert warned["busy"] == ["1 SSH session", "job train"]
    client.close()
    box.wait_off(60)

    box.start()
    assert "its time to live of 12 s is over" in box.read(f"{SAVED}/why")
    pushed = [json.loads(line)["message"] for line in box.read("/root/pushed").splitlines()]
    assert "powers itself off in 6 s" in pushed[0]
    assert "powers off now" in pushed[1]
    # The job was asked to end before anything was copied.
    listed = {item["path"]: item for item in json.loads(box.read(f"{SAVED}/mybox/manifest.json"))["files"]}
    assert "logs/train.log" in listed
    assert listed["results/checkpoint"]["size"] == len("weights\n")
    assert box.read(f"{SAVED}/mybox/files/results/checkpoint") == "weights\n"
    assert "s3cr3t" not in guarded.log()
    assert "s3cr3t" not in "\n".join(box.processes())

    # Its time is over for good, and whoever starts it again is told, and has time to want it longer.
    guarded.boxctl("boot")
    again = guarded.until(lambda state: state["stage"] == "warned")
    assert again["reason"] == "ttl"
    longer = guarded.boxctl("guard", "--extend", "3600")["guard"]
    assert longer["stage"] == "watching"
    assert 3500 < longer["guard_at"] - time.time() < 3700
    assert int(box.read(MARKER)) == int(longer["guard_at"])


def test_idle_waits_for_people_jobs_requests_and_whatever_cannot_be_told(
    guarded: Guarded, client: paramiko.SSHClient
) -> None:
    box = guarded.box
    shell = client.invoke_shell()
    box.write("/tmp/requests", "2 7")
    guarded.service("vllm", **engine(8000))
    guarded.job("train", "while [ ! -e /tmp/enough ]; do sleep 0.1; done")
    guarded.guard(idle="4s")
    everything = ["1 SSH session", "job train", "2 requests in flight"]
    guarded.until(lambda state: state.get("busy") == everything)
    assert all(state["stage"] == "watching" for state in guarded.looks(20))
    box.write("/tmp/requests", "0 7")
    guarded.until(lambda state: state["busy"] == everything[:2])
    box.write("/tmp/enough", "")
    guarded.until(lambda state: state["busy"] == everything[:1])
    # The engine answers nothing that can be read: it may be at work.
    box.write("/tmp/requests", "nonsense")
    shell.close()
    silent = guarded.until(lambda state: state["busy"] == [])
    assert "`vllm` does not say how many requests it has" in silent["unknown"][0]
    assert all(state["idle_s"] is None and state["stage"] == "watching" for state in guarded.looks(20))
    box.write("/tmp/requests", "0 7")
    # Requests that come and go between two looks.
    for total in ("8", "9", "10"):
        box.write("/tmp/requests", f"0 {total}")
        guarded.until(lambda state: state["busy"] == ["requests since the last look"])
    client.close()
    guarded.until(lambda state: state["stage"] == "warned" and state["reason"] == "idle")
    box.wait_off(60)


def test_requests_to_ollama_are_seen_although_it_has_no_metrics(guarded: Guarded) -> None:
    """In flight by their connection; afterwards by the moment at which the model is to be unloaded, which they move."""
    box = guarded.box
    plan = {"models": {}, "answer_seconds": 3}
    box.write("/root/ollama", (Path(ollama.__file__).parent / "program.py").read_text(), mode=0o755)
    box.write("/root/plan.json", json.dumps(plan))
    box.write("/root/models/manifests/registry.ollama.ai/library/tiny/latest", "{}")
    env = {"OLLAMA_MODELS": "/root/models", "OLLAMA_SIM": "/root/plan.json", "OLLAMA_HOST": "127.0.0.1:11434"}
    guarded.service("ollama", argv=["/root/ollama", "serve"], env=env, port=11434, start_seconds=1, stop_seconds=5)
    guarded.guard(idle="1h")
    guarded.until(lambda state: state.get("busy") == [] and state.get("unknown") == [])
    ask = """curl -s -d '{"model": "tiny", "messages": []}' http://127.0.0.1:11434/v1/chat/completions"""
    box.exec(f"setsid {ask} >/root/answer 2>&1 </dev/null &")
    guarded.until(lambda state: "1 request in flight" in state["busy"])
    guarded.until(lambda state: state["busy"] == ["requests since the last look"])
    guarded.until(lambda state: state["busy"] == [])
    assert "Hello there" in box.read("/root/answer")


def test_somebody_who_comes_back_keeps_it_on(guarded: Guarded, client: paramiko.SSHClient) -> None:
    guarded.box.write("/tmp/requests", "0 7")
    guarded.service("vllm", **engine(8000))
    # It is about to go off: everything was ended already.
    guarded.guard(idle="4s", before_stop={"command": "touch /tmp/begun; sleep 3"})
    guarded.until(lambda state: state.get("stage") == "stopping")
    shell = client.invoke_shell()
    back = guarded.until(lambda state: state["stage"] == "watching" and "doing" not in state)
    assert back["busy"] == ["1 SSH session"]
    # What it had ended runs again.
    states = {item["name"]: item["state"] for item in guarded.boxctl("status")["services"]}
    assert states["vllm"] in {"running", "starting"}
    shell.close()
    client.close()
    guarded.box.wait_off(60)


def test_money_is_counted_over_a_killed_guard_and_a_full_disk(guarded: Guarded) -> None:
    box = guarded.box
    guarded.job("train", "sleep 1000")
    # One CNY a second.
    guarded.guard(budget=14, price_per_hour=3600)
    first = guarded.until(lambda state: state.get("spent", 0) >= 1)
    assert box.exec(f"kill -9 $(cat {ROOT}/supervisor/supervisord.pid)").exit_code == 0
    later = guarded.until(lambda state: state["running"] and state["looked_at"] > first["looked_at"] + 1)
    assert later["started_at"] == first["started_at"]
    # What the guard did not see of it was on, too.
    assert later["spent"] == pytest.approx(later["looked_at"] - later["started_at"], abs=1.0)
    box.exec(f"dd if=/dev/zero of={ROOT}/full bs=1M 2>/dev/null")
    box.wait_off(60)


def test_the_ledger_knows_better(guarded: Guarded) -> None:
    guarded.guard(budget=1000, price_per_hour=3600, warn="4s")
    guarded.until(lambda state: state.get("stage") == "watching")
    told = guarded.boxctl("guard", "--spent", "400")["guard"]
    assert 400 <= told["spent"] < 430
    assert told["guard_at"] == pytest.approx(time.time() + 600, abs=30)
    guarded.boxctl("guard", "--spent", "2000")
    guarded.box.wait_off(60)


def test_off_is_off_also_for_the_guard_that_came_with_the_box(guarded: Guarded) -> None:
    box = guarded.box
    # Something that never ends does not keep it on, either.
    before: dict[str, Any] = {"command": "trap '' TERM; sleep 1000 & wait", "timeout": "2s"}
    guarded.guard(ttl="6s", before_stop=before)
    guarded.until(lambda state: state.get("stage") == "watching")
    assert guarded.boxctl("guard", "--off")["guard"]["stage"] == "off"
    box.exec(shell_guard(1, look=1))
    over = guarded.state()["started_at"] + 6 + 3
    state = guarded.until(lambda state: state["looked_at"] > over)
    assert (state["stage"], state["deadlines"]) == ("off", {})
    assert box.is_on()
    assert guarded.boxctl("guard", "--on")["guard"]["stage"] == "warned"
    box.wait_off(60)


def test_a_box_that_does_not_go_off_is_asked_again_and_says_so(guarded: Guarded) -> None:
    box = guarded.box
    box.write("/root/off.sh", "echo asked >> /root/asked; echo no power switch; exit 3\n")
    guarded.guard(ttl="2s", power_off=["/bin/sh", "/root/off.sh"])
    state = guarded.until(lambda state: state.get("trouble"))
    assert state["stage"] == "stopping"
    assert state["trouble"] == ["the box is still on; `/bin/sh` ended with 3: no power switch"]
    while box.read("/root/asked").count("asked") < 2:
        time.sleep(0.1)
    # The first guard may act now.
    assert int(box.read(MARKER)) == 0
