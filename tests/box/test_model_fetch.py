"""Downloads on real boxes from the simulated hub: killed, cut off, rotten, out of room; whole in the end, or said."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from box.testbox.options import Bind
from sim.hub import Bytes, HubFault, HubFaults, HubServer, Made, Repo, hub, repo
from waits import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from box.testbox import BoxFactory, Completed, TestBox
    from sim.hub.content import Blob

MIB = 1 << 20
PROGRAM = Path(__file__).resolve().parents[2] / "roles" / "model" / "files"
DIRECTORY = "/root/autodl-tmp/gpubox/models/tiny"
NAME = "acme/tiny"
FILES: dict[str, Blob | bytes] = {
    "config.json": Bytes(b"{}"),
    "deep/tokenizer.json": Bytes(b"[1]" * 9000),
    "model-1.safetensors": Made(1, 12 * MIB + 5),
    "model-2.safetensors": Made(2, 12 * MIB),
}
SUMS = {path: blob.sha256 for path, blob in repo(FILES).commits[0].files.items()}
SIZE = sum(blob.size for blob in repo(FILES).commits[0].files.values())
# So slow that there is a middle to be killed in, and so fast that the tests are not.
RATE, TOTAL = 2.0 * MIB, 12.0 * MIB
# Where it is counted what an end in the middle costs: the journal has a line for each half second of a connection.
SLOW = 2.5 * MIB
LOST = 0.5 * SLOW


@dataclass
class Fetching:
    """The program on a box, and the hub that it asks."""

    box: TestBox
    hub: HubServer

    def spec(self, **more: object) -> str:
        """What the role gives the program."""
        urls = {f"{which}_endpoint": self.hub.url for which in ("modelscope", "huggingface")}
        # Quick where a person would rather have it patient.
        quick = {"stall_seconds": 2, "patience_seconds": 20, "min_free_bytes": 8 * MIB}
        wanted = {"name": "tiny", "source": "modelscope", "id": NAME, "directory": DIRECTORY, **urls, **quick}
        return json.dumps({**wanted, "huggingface_mirror": self.hub.url, **more})

    def run(self, command: str = "fetch", *options: str, **more: object) -> Completed:
        """To its end."""
        return self.box.exec(_command(command, *options), stdin=self.spec(**more).encode(), timeout=180)

    def start(self, **more: object) -> int:
        """In the background; its pid."""
        line = f"{_command('fetch').replace('exec ', 'exec setsid ')} > /root/said 2>&1 < /root/spec & echo $!"
        self.box.write("/root/spec", self.spec(**more))
        return int(self.box.exec(line).stdout)

    def runs(self, pid: int) -> bool:
        """Whether that process is there."""
        return self.box.exec(f"kill -0 {pid}").exit_code == 0

    def moved_on(self, size: int) -> None:
        """Waits until the hub has sent so many bytes more."""
        counters = self.hub.counters
        target = counters.sent() + size
        until(lambda: counters.sent() >= target or counters.open() == 0, f"{size} more bytes", pause=0.02)

    def whole(self) -> bool:
        """Whether every file of the newest commit is there with its SHA-256, and nothing else is."""
        sums = f"cd {DIRECTORY} && find . -type f ! -name '.gpubox*' -exec sha256sum {{}} +"
        pairs = (line.split("  ./") for line in self.box.exec(sums).stdout.splitlines())
        return {path: sha256 for sha256, path in pairs} == SUMS


def _command(verb: str, *options: str) -> str:
    return " ".join(("cd /root && PYTHONPATH=/opt/model exec python3 -B -m model_fetch", verb, "--spec -", *options))


def _said(done: Completed) -> str:
    return done.stdout + done.stderr


@pytest.fixture
def served() -> Iterator[HubServer]:
    """A hub with a model of 24 MiB."""
    with hub({NAME: FILES}, HubFaults(total_rate=TOTAL).slow(RATE)) as server:
        yield server


@pytest.fixture(scope="module")
def shared(module_boxes: BoxFactory) -> TestBox:
    """A box that reaches this machine's hub."""
    return _made(module_boxes, data_size=256 * MIB)


@pytest.fixture
def fetching(shared: TestBox, served: HubServer) -> Fetching:
    """It, without a model."""
    shared.exec("rm -rf /root/autodl-tmp/gpubox /root/said")
    return Fetching(shared, served)


def _made(boxes: BoxFactory, data_size: int) -> TestBox:
    return boxes(network="host", data_size=data_size, binds=(Bind(str(PROGRAM), "/opt/model"),))


def test_killed_a_dozen_times_it_ends_whole_and_each_kill_costs_half_a_second(fetching: Fetching) -> None:
    chance = random.Random(4)
    faults, counters = fetching.hub.faults, fetching.hub.counters
    faults.total_rate = SLOW
    for _ in range(12):
        pid = fetching.start()
        until(lambda: counters.open() > 0)
        fetching.moved_on(chance.randrange(MIB // 2, 2 * MIB))
        assert fetching.box.exec(f"kill -9 {pid}").exit_code == 0
        # What it left on the line does not count for the next one.
        until(lambda: counters.open() == 0)
    cost = counters.sent()
    faults.total_rate = 0
    done = fetching.run()
    assert done.exit_code == 0, _said(done)
    assert fetching.whole()
    assert cost > SIZE / 3
    assert counters.sent() < 1.02 * SIZE + 12 * LOST


def test_a_power_cycle_in_the_middle_costs_only_what_was_on_its_way(boxes: BoxFactory, served: HubServer) -> None:
    fetching = Fetching(_made(boxes, data_size=128 * MIB), served)
    served.faults.total_rate = SLOW
    for _ in range(2):
        fetching.start()
        until(lambda: served.counters.open() > 0)
        fetching.moved_on(4 * MIB)
        fetching.box.power_cycle()
    assert not fetching.whole()
    served.faults.total_rate = 0
    done = fetching.run()
    assert done.exit_code == 0, _said(done)
    assert fetching.whole()
    assert served.counters.sent() < 1.02 * SIZE + 2 * LOST


def test_two_downloads_of_one_model_wait_for_each_other(fetching: Fetching) -> None:
    pid = fetching.start()
    until(lambda: fetching.hub.counters.open() > 0)
    second = fetching.run()
    assert second.exit_code == 0, _said(second)
    assert "another download of tiny is running" in _said(second)
    until(lambda: not fetching.runs(pid))
    assert fetching.whole()
    assert fetching.hub.counters.sent() < 1.05 * SIZE


def test_rot_on_the_box_is_found_and_only_that_file_comes_again(fetching: Fetching) -> None:
    assert fetching.run().exit_code == 0
    fetching.box.exec(f"printf x | dd of={DIRECTORY}/model-2.safetensors bs=1 seek=7000000 conv=notrunc")
    assert fetching.run("verify").exit_code == 0
    found = fetching.run("verify", "--full")
    assert found.exit_code == 1
    assert f"`{DIRECTORY}/model-2.safetensors` has other bytes" in _said(found)
    mends = next(part for part in found.stderr.split("`") if part.startswith("rm "))
    assert fetching.box.exec(mends).exit_code == 0
    fetching.hub.counters.forget()
    assert fetching.run().exit_code == 0
    assert fetching.whole()
    assert fetching.hub.counters.sent("model-1.safetensors") == 0
    assert fetching.hub.counters.sent() < 1.2 * 12 * MIB


def test_what_does_not_fit_is_said_before_a_byte_comes(boxes: BoxFactory, served: HubServer) -> None:
    fetching = Fetching(_made(boxes, data_size=24 * MIB), served)
    done = fetching.run()
    assert done.exit_code != 0
    assert "are missing" in _said(done)
    assert served.counters.sent() == 0
    # Somebody else fills the disk meanwhile: it stops cleanly, and goes on when there is room.
    served.faults.restart().slow(RATE)
    roomy = Fetching(_made(boxes, data_size=48 * MIB), served)
    pid = roomy.start(disk_wait_seconds=1)
    until(lambda: served.counters.open() > 0)
    roomy.moved_on(2 * MIB)
    roomy.box.exec("fallocate -l 40M /root/autodl-tmp/other || head -c 60M /dev/zero > /root/autodl-tmp/other")
    until(lambda: not roomy.runs(pid), seconds=90)
    said = roomy.box.read("/root/said")
    assert "missing" in said, said
    assert not roomy.whole()
    roomy.box.exec("rm /root/autodl-tmp/other")
    again = roomy.run()
    assert again.exit_code == 0, _said(again)
    assert roomy.whole()
    assert served.counters.sent() < 1.3 * SIZE


FAULTS: dict[str, list[HubFault]] = {
    "stall at 99 %": [HubFault("stall", path="*.safetensors", share=0.99, times=2)],
    "cut every MiB": [HubFault("cut", size=MIB)],
    # Busy, broken, and with signed URLs that expire.
    "statuses": [
        HubFault("http", "*/cdn", status=429, retry_after=1, times=2),
        HubFault("http", "*/cdn", status=500, times=3),
        HubFault("http", "*/cdn", status=403, times=2),
    ],
}


@pytest.mark.parametrize("case", FAULTS)
def test_whatever_the_hub_does_it_ends_whole(fetching: Fetching, case: str) -> None:
    fetching.hub.faults.restart([HubFault("slow", rate=RATE), *FAULTS[case]])
    done = fetching.run()
    assert done.exit_code == 0, _said(done)
    assert fetching.whole()
    assert fetching.hub.counters.sent() < 1.15 * SIZE


def test_a_source_that_sends_other_bytes_is_left_for_one_that_has_the_right_ones(fetching: Fetching) -> None:
    fetching.hub.faults.restart().wrong(5 * MIB, on="modelscope/*", path="model-1.safetensors")
    done = fetching.run()
    assert done.exit_code == 0, _said(done)
    assert fetching.whole()
    assert fetching.hub.counters.sent("model-1.safetensors", hub="huggingface") > 0


def test_a_branch_that_moves_meanwhile_is_not_mixed(fetching: Fetching) -> None:
    held = fetching.hub.repos[NAME]
    fetching.start()
    until(lambda: fetching.hub.counters.open() > 0)
    held.push({"model-2.safetensors": Made(9, 12 * MIB), "config.json": b"{ }"})
    fetching.box.power_cycle()
    done = fetching.run()
    assert done.exit_code == 0, _said(done)
    assert fetching.whole()


def test_what_was_asked_for_wrongly_is_said_and_nothing_comes(shared: TestBox) -> None:
    shared.exec("rm -rf /root/autodl-tmp/gpubox")
    ggufs = {f"tiny-{quant}.gguf": Made(3, 2 * MIB) for quant in ("Q4_K_M", "Q8_0")}
    repos: dict[str, Repo] = {NAME: repo({**FILES, **ggufs}), "acme/private": repo(FILES, token="hf_secret")}
    with hub(repos) as server:
        fetching = Fetching(shared, server)
        none = fetching.run(include=["*.bin"])
        assert (none.exit_code, "`include` has `*.bin`, and no file matches it" in _said(none)) == (2, True)
        other = fetching.run(quant="Q5_0")
        assert (other.exit_code, "Q4_K_M" in _said(other)) == (2, True)
        for source, variable in (("modelscope", "MODELSCOPE_API_TOKEN"), ("huggingface", "HF_TOKEN")):
            shut = fetching.run(source=source, id="acme/private")
            assert shut.exit_code in (2, 4), _said(shut)
            assert variable in _said(shut)
        assert server.counters.sent() == 0
        with_token = fetching.run(source="huggingface", id="acme/private", huggingface_token="hf_secret")
        assert with_token.exit_code == 0, _said(with_token)
        assert "hf_secret" not in _said(with_token)
        one = fetching.run(quant="q4_k_m", include=["*.gguf"], directory=f"{DIRECTORY}-gguf")
        assert one.exit_code == 0, _said(one)
        assert shared.exec(f"ls {DIRECTORY}-gguf").stdout == "tiny-Q4_K_M.gguf\n"
