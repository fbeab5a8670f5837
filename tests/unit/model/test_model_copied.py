"""The job that waits for a model which `gpubox up` copies: what it says, when it gives up, and what counts as there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gpubox.model_copy import on_box, on_box_state
from model_fetch import commands, copied, spec
from model_fetch.errors import Trouble
from model_fetch.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from model_fetch.spec import Spec


@pytest.fixture
def tiny(tmp_path: Path) -> Spec:
    (tmp_path / "tiny").mkdir()
    return spec.from_json({"name": "tiny", "source": "copied", "id": "oldbox:/m", "models": str(tmp_path)})


class Copying:
    """Who copies, in the place of time: at each look the next of `states` holds, and so many seconds have passed."""

    def __init__(self, tiny: Spec, tmp_path: Path, states: list[dict[str, Any] | None], seconds: float = 1.0) -> None:
        self.place, self.told = tmp_path / "tiny", tmp_path / "progress"
        self.states: Iterator[dict[str, Any] | None] = iter(states)
        self.now, self.seconds, self.spec = 1000.0, seconds, tiny

    def sleep(self, _: float) -> None:
        state = next(self.states)
        self.now += self.seconds
        path = self.place / copied.STATE
        if state is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(json.dumps({"beat": self.now, **state}))

    def wait(self) -> list[dict[str, Any]]:
        self.sleep(0)
        copied.wait(self.spec, Progress(str(self.told), lambda: self.now), clock=lambda: self.now, sleep=self.sleep)
        return [json.loads(line) for line in self.told.read_text().splitlines()]


def whole(place: Path) -> None:
    (place / "config.json").write_text("{}")
    (place / copied.NOTES).write_text(json.dumps({"config.json": {"size": 2, "mtime_ns": 1, "sha256": "0" * 64}}))


def test_the_names_are_those_that_gpubox_writes() -> None:
    assert (copied.STATE, copied.NOTES) == (on_box_state.STATE, on_box.NOTES)


def test_it_shows_how_far_the_copy_is_until_all_is_there(tiny: Spec, tmp_path: Path) -> None:
    whole(tmp_path / "tiny")
    states = [{"state": "copying", "label": "copying tiny", "done": done, "total": 9} for done in (1, 5, 9)]
    said = Copying(tiny, tmp_path, [*states, None]).wait()
    assert [(line["label"], line["done"]) for line in said] == [
        *(("copying tiny", done) for done in (1, 5, 9)), ("tiny is there", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("states", "seconds", "words"),
    [
        ([{"state": "failed", "error": "the disk is full"}], 1, "tiny could not be copied: the disk is full"),
        # Seen at once; a new line may still be made within seconds.
        ([{"state": "cut"}, {"state": "cut", "beat": 1000}], 25, "the copy of tiny from oldbox:/m was cut off"),
        # Not a word: a closed lid.
        ([{"state": "copying", "beat": 1000}] * 9, 30, "was cut off; what arrived is kept, `gpubox up` goes on"),
        # The box was switched off and on: its clock began anew.
        ([{"state": "copying", "beat": 90000}], 1, "was cut off"),
        ([None], 1, "nothing has been copied to .*tiny` from oldbox:/m: `gpubox up`"),
    ],
)
def test_it_gives_up_soon_and_says_why(
    tiny: Spec, tmp_path: Path, states: list[dict[str, Any] | None], seconds: float, words: str
) -> None:
    with pytest.raises(Trouble, match=words):
        Copying(tiny, tmp_path, states, seconds).wait()


def test_a_line_that_comes_back_is_gone_on_with(tiny: Spec, tmp_path: Path) -> None:
    whole(tmp_path / "tiny")
    assert Copying(tiny, tmp_path, [{"state": "cut"}, {"state": "copying"}, None], 15).wait()[-1]["done"] == 2


def test_ready_is_what_was_copied_whole_and_is_not_being_copied(tiny: Spec, tmp_path: Path) -> None:
    place = tmp_path / "tiny"
    assert [commands.plans([tiny])[0]["ready"]] == [False]
    whole(place)
    assert commands.plans([tiny])[0]["ready"]
    commands.verify([tiny], full=False)
    (place / copied.STATE).write_text('{"state": "cut"}')
    assert not commands.plans([tiny])[0]["ready"]
    (place / copied.STATE).unlink()
    (place / "config.json").write_text("{ }")
    assert not commands.plans([tiny])[0]["ready"]
    with pytest.raises(Trouble, match="is not there as it was copied"):
        commands.verify([tiny], full=False)
