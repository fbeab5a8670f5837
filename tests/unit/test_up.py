"""Decisions of `up` that need no box."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gpubox.boxfile import BoxFile
from gpubox.errors import UsageError
from gpubox.ledger import BoxRecord
from gpubox.up import refuse_to_move


def record(data_dir: str | None) -> BoxRecord:
    now = datetime.now(UTC)
    return BoxRecord(
        name="mybox", provider="attach", state="running", data_dir=data_dir, created_at=now, updated_at=now
    )


@pytest.mark.parametrize(
    ("was", "wanted"), [(None, "/data"), ("/data", None), ("/data", "/data"), ("/data", "/data/"), (None, None)]
)
def test_the_same_disk(was: str | None, wanted: str | None) -> None:
    refuse_to_move(record(was), BoxFile(provider="attach", data_dir=wanted))


def test_another_disk_would_leave_everything_behind() -> None:
    with pytest.raises(UsageError, match="set up on `/root/autodl-tmp`") as refused:
        refuse_to_move(record("/root/autodl-tmp"), BoxFile(provider="attach", data_dir="/data"))
    assert "gpubox down mybox" in str(refused.value.hint)
