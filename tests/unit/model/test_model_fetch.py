"""The whole program against a hub on 127.0.0.1 that misbehaves as the real ones do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sim.hub import HubFaults, HubServer, Made, hub, repo
from unit.model.conftest import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterator

MB = 10**6
WEIGHTS, SHARD = Made(1, 24 * MB), Made(2, 9 * MB)
FILES: dict[str, Any] = {
    "config.json": b"{}",
    "empty.txt": b"",
    "sub/notes.txt": b"hello",
    "model.safetensors": WEIGHTS,
    "extra.gguf": SHARD,
}
TOTAL = 33 * MB + 7


@dataclass
class Machine:
    """Runs the program for one directory."""

    place: Path
    hub: HubServer
    spec: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def model(self) -> Path:
        return self.place / "models/m"

    def start(self, command: str = "fetch", **fields: object) -> subprocess.Popen[str]:
        spec = {
            "name": "m", "source": "modelscope", "id": "o/m", "models": str(self.place / "models"),
            "modelscope_endpoint": self.hub.url, "huggingface_endpoint": self.hub.url, "network_turbo": "",
            "stall_seconds": 5, "patience_seconds": 60, **self.spec, **fields,
        }  # fmt: skip
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PROGRAM),
            "GPUBOX_MODEL_SPEC": json.dumps(spec),
            "GPUBOX_PROGRESS": str(self.place / "progress.jsonl"),
            **self.environment,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "model_fetch", *command.split()],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, command: str = "fetch", **fields: object) -> tuple[int, str, str]:
        process = self.start(command, **fields)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.model / ".gpubox-model.json").read_text())
        return found

    def progress(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.place / "progress.jsonl").read_text().splitlines()]

    def check(self, result: tuple[int, str, str]) -> str:
        """Everything is there, right, and nothing else; what the program said."""
        code, out, err = result
        assert code == 0, out + err
        there = {path.relative_to(self.model).as_posix() for path in self.model.rglob("*") if path.is_file()}
        assert there == {*FILES, ".gpubox-model.json"}
        for path, content in FILES.items():
            wanted = content if isinstance(content, bytes) else b"".join(content.pieces(0, content.size))
            assert (self.model / path).read_bytes() == wanted, path
        return out


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with hub({"o/m": FILES}) as server:
        yield Machine(tmp_path, server)


@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
def test_a_model_comes_whole_with_a_manifest_and_only_once(machine: Machine, source: str) -> None:
    machine.check(machine.run(source=source))
    manifest = machine.manifest()
    assert manifest["bytes"] == TOTAL
    assert manifest["revision"] == machine.hub.repos["o/m"].commits[-1].id
    assert {file["path"]: file["sha256"] for file in manifest["files"]}["model.safetensors"] == WEIGHTS.sha256
    assert machine.progress()[-1]["done"] == TOTAL
    assert TOTAL <= machine.hub.counters.sent() < TOTAL * 1.2
    assert manifest["twice_bytes"] < TOTAL // 10
    calls = machine.hub.counters.as_json()
    machine.check(machine.run(source=source))
    # There: not even the list is asked for.
    assert machine.hub.counters.as_json() == calls


FAULTS = {
    "cut every MB": HubFaults().cut(MB),
    "answers after a stall": HubFaults().stall(0.99, times=2),
    "ignores Range": HubFaults().add("ignores_range"),
    "no Content-Length": HubFaults().add("no_length"),
    "overloaded": HubFaults().http(503, on="*/cdn", times=4, retry_after=1),
    "errors": HubFaults().http(500, on="*/file", times=4),
    "wrong bytes once": HubFaults().wrong(11 * MB, 3, path="model.safetensors", times=1),
    "wrong bytes in a small file": HubFaults().wrong(0, 1, path="sub/notes.txt", times=2),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_hub_that_misbehaves_is_outlived(machine: Machine, name: str) -> None:
    machine.hub.faults.restart([])
    machine.hub.faults._left = list(FAULTS[name]._left)
    machine.check(machine.run(stall_seconds=1 if "stall" in name else 10))


def test_ranges_that_are_answered_with_206_too(tmp_path: Path) -> None:
    with hub({"o/m": FILES}, range_status=206) as server:
        machine = Machine(tmp_path, server)
        machine.check(machine.run())


def test_another_hub_with_the_same_checksums_takes_over(machine: Machine) -> None:
    machine.hub.faults.stall(0.5, on="modelscope/cdn", path="model.safetensors")
    out = machine.check(machine.run(stall_seconds=1))
    assert "Hugging Face has 5 of 5 files with the same size and checksum" in out
    assert machine.hub.counters.sent("model.safetensors", hub="huggingface") > 0
    # What had come was not fetched again.
    assert machine.manifest()["twice_bytes"] < 2 * MB


def test_wrong_bytes_for_ever_come_from_elsewhere_or_are_named(machine: Machine) -> None:
    machine.hub.faults.wrong(5 * MB, 10, on="modelscope/*", path="model.safetensors")
    out = machine.check(machine.run())
    assert "sends other bytes for `model.safetensors` than the hub lists, 3 times" in out
    machine.hub.faults.wrong(5 * MB, 10, path="model.safetensors")
    code, _, err = machine.run(revision="master", other_sources=False)
    assert code == 0, "the files were verified before and are kept: " + err
    (machine.model / "model.safetensors").unlink()
    code, _, err = machine.run(other_sources=False)
    assert code == 5
    assert "`model.safetensors` cannot be had right" in err
    assert not (machine.model / "model.safetensors").exists()


def test_kills_cost_nothing_that_was_written(machine: Machine) -> None:
    machine.hub.faults.slow(2.5 * MB)
    kills = 0
    for _ in range(40):
        process = machine.start()
        try:
            out, err = process.communicate(timeout=2.5)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        machine.check((process.returncode, out, err))
        break
    assert kills > 0
    # A kill may cost half a second of each connection, and what was in pipes.
    assert machine.hub.counters.sent() < TOTAL + kills * 16 * MB


def test_a_polite_end_keeps_what_came(machine: Machine) -> None:
    machine.hub.faults.slow(1 * MB)
    process = machine.start()
    until = time.monotonic() + 60
    while machine.hub.counters.sent() < 4 * MB and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    machine.hub.faults.restart([])
    before = machine.hub.counters.sent()
    machine.check(machine.run())
    assert machine.hub.counters.sent() - before < TOTAL - 2 * MB


def test_two_downloads_of_one_model_wait_for_each_other(machine: Machine) -> None:
    machine.hub.faults.slow(3 * MB)
    processes = [machine.start(), machine.start()]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    waited = [out for out, _ in said if "another download of m is running" in out]
    assert len(waited) == 1
    assert "m is there: 5 files" in waited[0]
    assert machine.hub.counters.sent() < TOTAL * 1.2


def test_a_branch_that_moves_keeps_the_commit_until_a_newer_one_is_asked_for(machine: Machine) -> None:
    machine.check(machine.run())
    first = machine.manifest()["revision"]
    second = machine.hub.repos["o/m"].push({"config.json": b'{"new": 1}'})
    machine.check(machine.run())
    assert machine.manifest()["revision"] == first
    sent = machine.hub.counters.sent()
    code, out, err = machine.run(refresh=True)
    assert code == 0, out + err
    assert machine.manifest()["revision"] == second
    assert (machine.model / "config.json").read_bytes() == b'{"new": 1}'
    # Only what changed was fetched.
    assert machine.hub.counters.sent() - sent == 10
    machine.run(revision=first)
    assert (machine.model / "config.json").read_bytes() == b"{}"


def test_another_choice_takes_away_what_only_the_old_one_had(machine: Machine) -> None:
    machine.check(machine.run())
    sent = machine.hub.counters.sent()
    code, out, err = machine.run(exclude=["*.gguf"])
    assert code == 0, out + err
    assert not (machine.model / "extra.gguf").exists()
    assert machine.hub.counters.sent() == sent


def test_what_another_client_left_is_verified_and_kept(machine: Machine) -> None:
    machine.model.mkdir(parents=True)
    (machine.model / "extra.gguf").write_bytes(b"".join(SHARD.pieces(0, SHARD.size)))
    (machine.model / "sub").mkdir()
    (machine.model / "sub/notes.txt").write_bytes(b"HELLO")
    machine.check(machine.run())
    assert machine.hub.counters.sent("extra.gguf") == 0


def test_rot_is_found_by_a_full_verify_and_mended_by_the_next_fetch(machine: Machine) -> None:
    machine.check(machine.run())
    path = machine.model / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[7 * MB] ^= 1
    path.write_bytes(data)
    assert machine.run("verify")[0] == 0, "the size is right"
    code, _, err = machine.run("verify --full")
    assert code == 1
    assert f"`{path}` has other bytes than when it was fetched" in err
    assert f"`rm {machine.model}/.gpubox-model.json`" in err
    (machine.model / ".gpubox-model.json").unlink()
    sent = machine.hub.counters.sent()
    rest = sent - machine.hub.counters.sent("model.safetensors")
    machine.check(machine.run())
    # Of that file only, and no more of it than it took to find what was wrong.
    assert machine.hub.counters.sent("model.safetensors") == machine.hub.counters.sent() - rest
    assert 0 < machine.hub.counters.sent() - sent <= WEIGHTS.size
    path.write_bytes(b"short")
    code, _, err = machine.run("verify")
    assert code == 1
    assert "has 5 bytes instead of 24000000" in err


def test_a_private_model_needs_the_token_which_is_never_shown(tmp_path: Path) -> None:
    with hub({"o/m": repo(FILES, token="s3cret")}) as server:
        machine = Machine(tmp_path, server)
        code, _, err = machine.run()
        assert code == 2
        assert "a private one needs MODELSCOPE_API_TOKEN" in err
        machine.environment["MODELSCOPE_API_TOKEN"] = "s3cret"
        server.faults.slow(4 * MB)
        process = machine.start()
        argvs = set[bytes]()
        while process.poll() is None:
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    argvs.add(place.read_bytes())
                except OSError:
                    continue
            time.sleep(0.05)
        out, err = process.communicate()
        machine.check((process.returncode, out, err))
        assert any(argv.startswith(b"curl\0") for argv in argvs)
        assert not [argv for argv in argvs if b"s3cret" in argv]
        assert "s3cret" not in out + err + machine.place.joinpath("progress.jsonl").read_text()


def test_nothing_for_too_long_is_an_error_and_what_came_is_kept(machine: Machine) -> None:
    machine.hub.faults.stall(0.5, path="*.safetensors")
    code, _, err = machine.run(patience_seconds=4, stall_seconds=0.5)
    assert code == 5
    assert "nothing came for 4 s from any source" in err
    assert "what has come is kept" in err
    machine.hub.faults.restart([])
    sent = machine.hub.counters.sent()
    machine.check(machine.run())
    assert machine.hub.counters.sent() - sent <= WEIGHTS.size // 2 + MB


def test_a_file_that_is_not_what_the_hub_lists(machine: Machine) -> None:
    machine.hub.faults.add("lies", "*/list", "extra.gguf", size=5)
    code, _, err = machine.run()
    assert code == 1
    assert "has 9000000 bytes of `extra.gguf` and lists 9000005" in err


def test_a_list_that_changed_in_between_is_asked_for_again(machine: Machine) -> None:
    machine.hub.faults.add("lies", "*/list", "extra.gguf", size=5, times=1)
    out = machine.check(machine.run(other_sources=False))
    assert "asking for the list again" in out


def test_what_cannot_be_is_said_before_the_first_byte(machine: Machine) -> None:
    code, _, err = machine.run("plan", include=["*.safetensor"])
    assert code == 2
    assert err.startswith("`include` has `*.safetensor`, and no file matches it; near: `*.safetensors`")
    code, _, err = machine.run("plan", min_free_bytes=1 << 60)
    assert code == 1
    assert "0 bytes are free" in err
    machine.environment["PATH"] = str(machine.place)
    code, _, err = machine.run("plan")
    assert code == 1
    assert err.startswith("`curl` is missing, which fetches the models; `")
    assert machine.hub.counters.sent() == 0


def test_plans_of_several_models_have_to_fit_together(machine: Machine) -> None:
    free = os.statvfs(machine.place)
    keep = free.f_bavail * free.f_frsize - TOTAL - 20 * MB
    process = machine.start("plan", min_free_bytes=keep)
    assert process.communicate()[1] == ""
    common = {"source": "modelscope", "id": "o/m", "models": str(machine.place), "modelscope_endpoint": machine.hub.url}
    specs = [{**common, "name": name, "min_free_bytes": keep} for name in ("one", "two")]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROGRAM)}
    done = subprocess.run(
        [sys.executable, "-m", "model_fetch", "plan", "--spec", "-"],
        input=json.dumps(specs), env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "needs 66.0 MB" in done.stderr
    assert "(one 33.0 MB, two 33.0 MB)" in done.stderr
