"""What the web UI on this machine talks to: merging engines and agents of several boxes, its box file, its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gpubox import web_ui_engines
from gpubox.boxfile import BoxFile, load
from gpubox.converge.variables import role_variables
from gpubox.errors import Failed, Refused, UsageError
from gpubox.ledger import Ledger
from gpubox.web_ui_engines import HOME_BOX, Engine, Member, box_file_text, engines, joined, left

if TYPE_CHECKING:
    from pathlib import Path

KEY = "hunter2-key"
ON_LAPTOP = BoxFile.model_validate({"provider": "attach", "engine": "vllm", "web_ui": {"on": "laptop"}})


def member(name: str, port: int | None, *agents: dict[str, Any], **fields: Any) -> Member:  # noqa: ANN401
    given = {agent["name"]: agent for agent in agents}
    return Member(
        box=name, life="2026-01-01", web_ui_port=3000, admin_email="me@example.com", port=port, agents=given, **fields
    )


def poet(base: str) -> dict[str, Any]:
    return {"name": "诗人", "base_model": base, "system_prompt": "你是一位诗人。", "parameters": {"temperature": 0.9}}


def names(of: list[Member]) -> dict[str, list[str]]:
    return {member.box: [agent["name"] for agent in member.agents.values()] for member in of}


def test_each_box_keeps_its_place_and_each_address_is_listed_once() -> None:
    shared = Engine("http://10.0.0.1/v1", KEY)
    both = joined(joined([], member("a", 8000, further=(Engine(shared.url),))), member("b", 8001, further=(shared,)))
    assert [engine.url for engine in engines(both)] == [
        "http://127.0.0.1:8000/v1",
        "http://10.0.0.1/v1",
        "http://127.0.0.1:8001/v1",
    ]
    assert engines(both)[1].api_key == KEY
    again = joined(both, member("a", 8005))
    assert [member.box for member in again] == ["a", "b"]
    assert engines(again)[0].url == "http://127.0.0.1:8005/v1"
    assert [engine.url for engine in engines(left(again, "a"))] == ["http://127.0.0.1:8001/v1", shared.url]


def test_a_port_has_one_engine() -> None:
    """Whoever had it lost it while its tunnel was closed: its key must not go to the engine that is there now."""
    before = [member("a", 8000, api_key=KEY), member("b", 8001)]
    after = joined(before, member("b", 8000), [8002])
    assert [(member.box, member.port) for member in after] == [("a", 8002), ("b", 8000)]


def test_an_agent_whose_name_is_taken_gets_the_name_of_its_box() -> None:
    both = joined(joined([], member("a", 8000, poet("m-a"))), member("b", 8001, poet("m-b")))
    assert names(both) == {"a": ["诗人"], "b": ["诗人 (b)"]}
    # It keeps that name, which chats know, and so does the other.
    both = joined(both, member("b", 8001, poet("m-b")))
    assert names(joined(left(both, "a"), member("b", 8001, poet("m-b")))) == {"b": ["诗人 (b)"]}
    # Names are told apart as open-webui does it.
    poet_en = [{"name": name, "base_model": "m"} for name in ("A Poet", "a-poet")]
    assert names(joined([member("a", 1, poet_en[0])], member("b", 2, poet_en[1])))["b"] == ["a-poet (b)"]
    odd = {"name": "诗人 (b)", "base_model": "m-a"}
    assert names(joined([member("a", 1, poet("m"), odd)], member("b", 2, poet("n"))))["b"] == ["诗人 (b 1)"]


def test_the_same_agent_of_two_boxes_is_one() -> None:
    both = joined(joined([], member("a", 8000, poet("m"))), member("b", 8001, poet("m")))
    assert names(both) == {"a": ["诗人"], "b": ["诗人"]}
    assert box_file_text(both, port=3000, admin_email="a@b.cn").count("name: 诗人") == 1


def test_its_box_file_is_one_and_holds_no_key(tmp_path: Path) -> None:
    of = [member("a", 8000, poet("m"), api_key=KEY), member("b", None, further=(Engine("http://10.0.0.1/v1"),))]
    path = tmp_path / "laptop.yml"
    path.write_text(box_file_text(of, port=3001, admin_email="me@example.com"), encoding="utf-8")
    assert KEY not in path.read_text(encoding="utf-8")
    box = load(path)
    ui = box.web_ui_settings
    assert ui is not None
    assert (box.provider, ui.on, ui.port, ui.admin_email) == ("local", "box", 3001, "me@example.com")
    assert [(engine.url, engine.api_key is not None) for engine in ui.engines] == [
        ("http://127.0.0.1:8000/v1", True),
        ("http://10.0.0.1/v1", False),
    ]
    assert box.agents[0].model_dump(mode="json") == poet("m")
    path.write_text(box_file_text([], port=3000, admin_email="me@example.com"), encoding="utf-8")
    assert load(path).web_ui_settings is not None


def test_keys_lie_in_one_private_file_and_reach_the_role_only() -> None:
    with Ledger() as ledger:
        life = ledger.add("a", "attach").created_at.isoformat()
        home = ledger.add(HOME_BOX, "local")
        other = ledger.add("other", "local")
    kept = Member(box="a", life=life, web_ui_port=3000, admin_email="me@example.com", port=8000, api_key=KEY)
    web_ui_engines.write([kept, member("gone", 8001)])
    assert web_ui_engines.members() == [kept]
    (file,) = web_ui_engines.box_file().parent.glob("*.json")
    assert file.stat().st_mode & 0o777 == 0o600
    assert KEY not in repr(kept)

    web_ui_engines.box_file().write_text(box_file_text([kept], port=3000, admin_email="a@b.cn"), encoding="utf-8")
    box = load(web_ui_engines.box_file())
    variables = role_variables(box, root="/r", data_dir="/d", facts=None, record=home, environ={})
    assert variables["open_webui_engines"] == [{"url": "http://127.0.0.1:8000/v1", "api_key": KEY}]
    with pytest.raises(UsageError, match="is not set"):
        role_variables(box, root="/r", data_dir="/d", facts=None, record=other, environ={})


def test_a_file_that_cannot_be_read_is_named_with_the_way_out() -> None:
    web_ui_engines.write([])
    (file,) = web_ui_engines.box_file().parent.glob("*.json")
    file.write_text('[{"box": 1}]')
    with pytest.raises(Failed, match="cannot be read") as raised:
        web_ui_engines.members()
    assert raised.value.hint is not None
    assert "gpubox up NAME" in raised.value.hint


@pytest.mark.parametrize(("provider", "ours"), [("attach", False), ("local", True)])
def test_a_persons_own_box_of_that_name_is_left_alone(provider: str, *, ours: bool) -> None:
    web_ui_engines.refuse_a_stranger("mine", ON_LAPTOP)
    with Ledger() as ledger:
        ledger.add(HOME_BOX, provider, box_file=web_ui_engines.box_file())
    if ours:
        web_ui_engines.refuse_a_stranger("mine", ON_LAPTOP)
        return
    web_ui_engines.refuse_a_stranger("mine", BoxFile.model_validate({"provider": "attach"}))
    with pytest.raises(Refused, match="a box of yours is called `laptop`"):
        web_ui_engines.refuse_a_stranger("mine", ON_LAPTOP)


def test_the_box_of_the_web_ui_asks_for_none() -> None:
    with pytest.raises(Refused, match="cannot ask for one"):
        web_ui_engines.refuse_a_stranger(HOME_BOX, ON_LAPTOP)
