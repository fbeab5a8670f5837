"""Agents: what open-webui is told of one that is new, that changed, and that somebody has worked on."""

from __future__ import annotations

from typing import Any

import pytest

from webui_box import agents
from webui_box.errors import Trouble

POET: dict[str, Any] = {
    "name": "Poet of Tang",
    "base_model": "small-gpt",
    "system_prompt": "你是一位诗人。",
    "parameters": {"temperature": 0.5},
}


def stored(form: dict[str, Any], **more: object) -> dict[str, Any]:
    """As open-webui gives it back: with fields of its own."""
    return {**form, "meta": {**form["meta"], "description": None}, "user_id": "u", "access_grants": [], **more}


def test_a_new_one() -> None:
    form = agents.form(POET, None)
    assert agents.differs(form, None)
    assert (form["id"], form["name"], form["base_model_id"]) == ("poet-of-tang", "Poet of Tang", "small-gpt")
    assert form["params"] == {"system": "你是一位诗人。", "temperature": 0.5}


def test_the_same_again_is_no_change() -> None:
    existing = stored(agents.form(POET, None))
    assert not agents.differs(agents.form(POET, existing), existing)


@pytest.mark.parametrize(
    "change",
    [{"system_prompt": "x"}, {"base_model": "other"}, {"parameters": {"temperature": 1}}, {"parameters": {}}],
)
def test_a_change_is_seen(change: dict[str, Any]) -> None:
    existing = stored(agents.form(POET, None))
    form = agents.form({**POET, **change}, existing)
    assert agents.differs(form, existing)
    assert not agents.differs(agents.form({**POET, **change}, stored(form)), stored(form))


def test_what_people_set_stays_and_what_we_no_longer_want_goes() -> None:
    existing = stored(agents.form(POET, None))
    existing["params"] = {**existing["params"], "seed": 7}
    existing["meta"] = {**existing["meta"], "description": "theirs"}
    form = agents.form({**POET, "parameters": {"top_p": 0.9}}, existing)
    assert form["params"] == {"system": "你是一位诗人。", "seed": 7, "top_p": 0.9}
    assert form["meta"]["description"] == "theirs"
    assert "access_grants" not in form


def test_one_that_was_switched_off_by_hand_is_switched_on() -> None:
    existing = stored(agents.form(POET, None), is_active=False)
    assert agents.differs(agents.form(POET, existing), existing)


def test_what_open_webui_would_take_and_not_show_is_refused() -> None:
    agents.check([POET, {**POET, "name": "诗人"}])
    with pytest.raises(Trouble, match="have the same id `poet-of-tang`"):
        agents.check([POET, {**POET, "name": "poet of  tang"}])
    with pytest.raises(Trouble, match="name of its own base model"):
        agents.check([{**POET, "name": "small-gpt"}])
