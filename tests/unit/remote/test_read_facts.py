"""Facts over a real SSH connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.remote.facts import read_facts
from gpubox.remote.host import Host

if TYPE_CHECKING:
    from pathlib import Path

    from gpubox.remote.login import Login


def test_facts_over_ssh(login: Login, tmp_path: Path) -> None:
    with Host(login) as host:
        facts = read_facts(host, str(tmp_path / "my data"), ports=[8000])
    assert facts.cpu.effective > 0
    assert facts.memory.effective > 0
    assert facts.gpubox.root == f"{tmp_path}/my data/gpubox"
    disk = facts.disk(str(tmp_path / "my data"))
    assert disk is not None
    assert disk.writable
    assert facts.clock_skew is not None
    assert abs(facts.clock_skew) < 60
