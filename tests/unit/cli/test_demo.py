"""The demo says before it starts that it cannot be had, where it cannot."""

from __future__ import annotations

import platform

import pytest

from gpubox.demo import refuse_where_vllm_has_no_cpu_build
from gpubox.errors import Refused


@pytest.mark.parametrize(
    ("system", "machine"), [("Darwin", "arm64"), ("Darwin", "x86_64"), ("Linux", "aarch64"), ("Windows", "AMD64")]
)
def test_refused_elsewhere(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(Refused, match=f"{system} on {machine.lower()}") as refused:
        refuse_where_vllm_has_no_cpu_build()
    assert "gpubox add" in str(refused.value.hint)


def test_not_refused_on_x86_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    refuse_where_vllm_has_no_cpu_build()
