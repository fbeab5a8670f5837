"""After the start: who is told the password, what is waited for, what is said, what is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from broken_http import ANSWERS, answering
from unit.open_webui.conftest import PASSWORD, front
from webui_box import agents
from webui_box.engines import look
from webui_box.errors import Trouble
from webui_box.settle import settle

if TYPE_CHECKING:
    from unit.open_webui.conftest import Box

POET: dict[str, Any] = {"name": "诗人", "base_model": "small-gpt", "system_prompt": "你是一位诗人。"}
AGENT, UPDATE = ("GET", "/api/v1/models/model"), ("POST", "/api/v1/models/model/update")
SIGN_IN, CREATE = ("POST", "/api/v1/auths/signin"), ("POST", "/api/v1/models/create")


def test_all_is_well(webui: Box) -> None:
    assert settle(webui.request()) == {"changed": False, "agents": {}, "models": ["small-gpt"], "notes": []}
    assert webui.ui.to(*SIGN_IN) == [{"email": "me@example.com", "password": PASSWORD}]
    assert [auth for *_, auth in webui.engine.asked] == ["Bearer sk-engine"]


def test_an_agent_is_made_then_left_alone_then_changed(webui: Box) -> None:
    done = settle(webui.request(agents=[POET]))
    assert (done["changed"], done["agents"]) == (True, {"诗人": "created"})
    (form,) = webui.ui.to(*CREATE)
    webui.ui.answers[AGENT] = [(200, {**form, "user_id": "u"})]
    assert settle(webui.request(agents=[POET]))["changed"] is False
    done = settle(webui.request(agents=[{**POET, "system_prompt": "x"}]))
    assert done["agents"] == {"诗人": "updated"}
    (update,) = webui.ui.to(*UPDATE)
    assert update["params"] == {"system": "x"}
    assert len(webui.ui.to(*CREATE)) == 1


def test_a_check_says_what_would_be_and_changes_nothing(webui: Box) -> None:
    done = settle(webui.request(agents=[POET], dry=True))
    assert (done["changed"], done["agents"]) == (True, {"诗人": "created"})
    webui.service["state"] = "stopped"
    webui.write()
    assert settle(webui.request(agents=[POET], dry=True))["changed"] is True
    assert settle(webui.request(dry=True))["changed"] is False
    assert not webui.ui.to(*CREATE)


def test_verify_takes_a_difference_for_an_error(webui: Box) -> None:
    form = agents.form(POET, None)
    webui.ui.answers[AGENT] = [(200, {**form, "params": {"system": "by hand"}})]
    with pytest.raises(Trouble, match="agents are not as they shall be: 诗人"):
        settle(webui.request(agents=[POET], verify=True))
    assert not webui.ui.to(*UPDATE)


def test_a_stranger_on_the_port_is_told_no_password(webui: Box) -> None:
    webui.service |= {"pid": 1 << 22, "state": "failed", "last_error": "port 8080 of 127.0.0.1 is taken"}
    webui.write()
    with pytest.raises(Trouble, match=r"`open-webui` is failed: port 8080 of 127\.0\.0\.1 is taken"):
        settle(webui.request())
    assert not webui.ui.to(*SIGN_IN)


def test_a_wrong_password_is_said_and_not_shown(webui: Box) -> None:
    webui.ui.answers[SIGN_IN] = [(400, {"detail": "wrong"})]
    with pytest.raises(Trouble, match=r"does not let `me@example\.com` in with the password in `") as raised:
        settle(webui.request())
    assert PASSWORD not in str(raised.value)


def test_what_is_slow_is_waited_for(webui: Box) -> None:
    webui.ui.answers["GET", "/health"] = [(503, {}), (200, {})]
    webui.ui.answers["GET", "/api/models"] = [(200, {"data": []}), (200, {"data": [{"id": "small-gpt"}]})]
    assert settle(webui.request())["models"] == ["small-gpt"]


def test_a_web_ui_without_models_before_an_engine_with_models_is_an_error(webui: Box) -> None:
    webui.ui.answers["GET", "/api/models"] = [(200, {"data": []})]
    with pytest.raises(Trouble, match="has models, and open-webui shows none"):
        settle(webui.request(timeout=0.0))


def test_an_engine_that_gives_nothing_is_said_and_no_failure(webui: Box) -> None:
    webui.ui.answers["GET", "/api/models"] = [(200, {"data": []})]
    with front() as gone:
        port = gone.port
    up = f"http://127.0.0.1:{webui.engine.port}/v1"
    cases: tuple[tuple[int, dict[str, Any], str], ...] = (
        (401, {}, "refuses the `api_key`"),
        (500, {}, "HTTP 500"),
        (200, {"data": []}, "no model"),
    )
    for status, answer, word in cases:
        webui.engine.answers["GET", "/v1/models"] = [(status, answer)]
        webui.engines(up, f"http://127.0.0.1:{port}/v1", keys="sk-engine;")
        refused, down = settle(webui.request())["notes"]
        assert word in refused
        assert f"http://127.0.0.1:{port}/v1 does not answer ([Errno 111] Connection refused)" in down
        assert "sk-engine" not in refused + down


def test_it_is_said_when_it_never_gets_ready(webui: Box) -> None:
    webui.ui.answers["GET", "/health"] = [(503, {})]
    with pytest.raises(Trouble, match="not ready within 0 s: it is not healthy yet"):
        settle(webui.request(timeout=0.0))


@pytest.mark.parametrize("answer", list(ANSWERS))
def test_an_engine_that_breaks_off_is_said(webui: Box, answer: str) -> None:
    with answering(ANSWERS[answer]) as url:
        webui.engines(url)
        (note,), up = look(webui.root, "open-webui")
    assert "does not answer" in note
    assert up == []
