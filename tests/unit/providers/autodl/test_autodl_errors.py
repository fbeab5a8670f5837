"""Every error that AutoDL has been seen to answer, and every way in which it gives none: one typed error each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from gpubox.boxfile import BoxFile
from gpubox.errors import AuthFailed, Failed, GpuboxError, NoStock, Unreachable, UsageError
from gpubox.providers.autodl import AutodlProvider
from gpubox.providers.autodl.client import Api, NotSent
from gpubox.providers.autodl.refusals import NoSuchBox, NotOff, NotPermitted, refusal
from gpubox.providers.base import Order
from gpubox.providers.clock import WALL
from sim.autodl import TOKEN, Running, autodl
from sim.promises import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sim.faults import FaultPlan

BOX = BoxFile.model_validate({"provider": "autodl", "gpu": {"name": "4090D"}})


class Case(NamedTuple):
    """An answer, and what it is to us."""

    code: str
    words: str
    kind: type[GpuboxError]
    exit_code: int
    hint: str | None


CASES = (
    Case("AuthorizeFailed", "登陆超时，请重新登录; 请求未通过", AuthFailed, 4, "AUTODL_TOKEN"),
    Case("TORealName", "未完成实名认证,认证后才可使用", NotPermitted, 4, "实名认证"),
    Case("BadRequest", "无当前资源访问权限", NotPermitted, 4, "企业认证"),
    Case("BadRequest", "请在实例关机状态下执行释放操作", NotOff, 1, "gpubox stop"),
    Case("RequestParameterIsWrong", "请求参数错误", Failed, 1, None),
    Case("RecordNotFoundError", "未查询到相关实例", NoSuchBox, 1, "gpubox add"),
    Case("InternalError", "当前算力规格暂无库存, 请修改配置或稍等再试", NoStock, 5, "--wait"),
    Case("InternalError", "保存实例镜像前，请确保实例是关机状态", NotOff, 1, "gpubox stop"),
    Case("ServerError", "不支持的启动模式", Failed, 1, "console"),
    Case("InstanceError", "该主机空闲GPU不足，主机GPU空闲数量：0 卡", NoStock, 5, "--wait"),
    Case("InternalError", "账户余额不足", Failed, 1, "top it up"),
    Case("InternalError", "", Unreachable, 5, "again"),
    Case("ServerError", "内部错误", Unreachable, 5, "again"),
    Case("SomethingNew", "从未见过", Failed, 1, "console"),
)


@pytest.fixture
def sim() -> Iterator[Running]:
    with autodl() as running:
        yield running


@pytest.fixture
def api(sim: Running) -> Api:
    return Api(url=sim.url, token=TOKEN, clock=sim.clock)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code}-{case.words[:8]}")
def test_an_error_in_http_200_is_a_typed_one(sim: Running, api: Api, case: Case) -> None:
    sim.faults.error("balance", code=case.code, message=case.words or "x")
    with pytest.raises(GpuboxError) as caught:
        api.act("balance")
    error = caught.value
    assert type(error) is case.kind
    assert error.exit_code == case.exit_code
    assert case.code in error.message
    assert case.words in error.message  # AutoDL's own words, for a search
    assert error.where == "AutoDL, balance"
    assert (case.hint or "") in (error.hint or "")
    assert (case.hint is None) == (error.hint is None)


def test_an_error_without_words_is_still_a_sentence() -> None:
    assert refusal("SomethingNew", "", "list").message == "AutoDL says no (SomethingNew)"


class Broken(NamedTuple):
    """A way to give no answer."""

    plan: Callable[[FaultPlan], FaultPlan]
    kind: type[GpuboxError]
    words: str


BROKEN = {
    "500": Broken(lambda plan: plan.http("balance"), Unreachable, "HTTP 500"),
    "502": Broken(lambda plan: plan.http("balance", status=502), Unreachable, "HTTP 502"),
    "429": Broken(lambda plan: plan.http("balance", status=429), Unreachable, "HTTP 429"),
    "401": Broken(lambda plan: plan.http("balance", status=401), AuthFailed, "HTTP 401"),
    "404": Broken(lambda plan: plan.http("balance", status=404), Failed, "HTTP 404"),
    "302": Broken(lambda plan: plan.http("balance", status=302), Failed, "HTTP 302"),
    "login-page": Broken(lambda plan: plan.html("balance"), Unreachable, "not JSON"),
    "half": Broken(lambda plan: plan.garbage("balance"), Unreachable, "not JSON"),
    "dropped": Broken(lambda plan: plan.drop("balance"), Unreachable, "the connection broke"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_no_answer_is_a_typed_error(sim: Running, api: Api, broken: Broken) -> None:
    broken.plan(sim.faults)
    with pytest.raises(GpuboxError, match=broken.words) as caught:
        api.act("balance")
    assert type(caught.value) is broken.kind
    assert caught.value.hint


def test_silence_is_given_up(sim: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubox.providers.autodl.client._TIMEOUT", 0.2)
    sim.faults.hang("create")
    provider = AutodlProvider(clock=sim.clock, url=sim.url, token=TOKEN)
    with pytest.raises(Unreachable, match="nobody can tell whether AutoDL made the box `gpubox-a-1`"):
        provider.create(Order("gpubox-a-1", BOX))
    (one,) = sim.account.live()
    assert provider.find("gpubox-a-1") == one.uuid


def test_a_call_that_was_never_sent_is_known_to_have_done_nothing() -> None:
    provider = AutodlProvider(url="http://127.0.0.1:9", token=TOKEN)
    with pytest.raises(NotSent, match="cannot connect") as caught:
        provider.create(Order("gpubox-a-1", BOX))
    assert "nobody can tell" not in caught.value.message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080"),
        ("HTTPS_PROXY", "odd://127.0.0.1:1080"),
        ("SSL_CERT_FILE", "/no/such/file"),
    ],
)
def test_network_settings_that_cannot_be_used_are_said(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(Failed, match="network settings") as caught:
        Api(url="https://api.example.invalid", token=TOKEN).act("balance")
    assert variable in str(caught.value.hint)


@pytest.mark.parametrize("url", ["api.autodl.com", "ftp://api.autodl.com", "https://"])
def test_an_address_that_is_none_is_bad_input(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("GPUBOX_AUTODL_URL", url)
    with pytest.raises(UsageError, match="not the address") as caught:
        Api(token=TOKEN).act("balance")
    assert caught.value.where == "GPUBOX_AUTODL_URL"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (("InternalError", "系统内部错误"), Unreachable),
        (("RequestParameterIsWrong", "请求参数错误"), Failed),
        (("TORealName", "未完成实名认证,认证后才可使用"), AuthFailed),
    ],
)
def test_create_after_an_error_is_not_asked_again(
    sim: Running, error: tuple[str, str], kind: type[GpuboxError]
) -> None:
    sim.faults.error("create", code=error[0], message=error[1])
    with pytest.raises(kind):
        AutodlProvider(clock=sim.clock, url=sim.url, token=TOKEN).create(Order("gpubox-a-1", BOX))
    assert sim.server.operations() == ["create"]


def test_looks_are_tried_three_times_and_acts_once(sim: Running, api: Api) -> None:
    sim.faults.http("*", times=sim.faults.ALWAYS)
    with pytest.raises(Unreachable):
        api.look("balance")
    assert sim.server.count("balance") == 3
    with pytest.raises(Unreachable):
        api.act("release", instance_uuid="pro-1")
    assert sim.server.count("release") == 1


def test_an_outage_of_half_a_minute_does_not_end_a_wait(sim: Running) -> None:
    provider = AutodlProvider(clock=sim.clock, url=sim.url, token=TOKEN)
    box = record("autodl", provider.create(Order("gpubox-a-1", BOX)))
    # Three tries, 4 s apart, make a look; five looks in vain.
    sim.faults.restart().http("status", 2, times=15, status=503)
    assert provider.ready(box, print).endpoint.port
    sim.faults.restart().http("status", times=sim.faults.ALWAYS, status=503)
    begun = sim.clock.now()
    with pytest.raises(Unreachable, match="HTTP 503"):
        provider.power_off(box)
    assert 60 <= (sim.clock.now() - begun).total_seconds() < 120


@pytest.mark.parametrize("token", ["", "Bearer " + TOKEN, TOKEN[:-1]])
def test_another_token_is_not_accepted(sim: Running, token: str) -> None:
    with pytest.raises(AuthFailed):
        Api(url=sim.url, token=token, clock=sim.clock).act("balance")


def test_the_token_stands_raw_in_the_header_and_nowhere_else(sim: Running, api: Api) -> None:
    seen: list[tuple[str, str, bytes]] = []
    answer = sim.server.app.answer

    def spy(request: object) -> object:
        seen.append((request.headers["authorization"], request.path + str(request.query), request.body))  # type: ignore[attr-defined]
        return answer(request)  # type: ignore[arg-type]

    sim.server.app.answer = spy  # type: ignore[method-assign,assignment]
    api.act("balance")
    with pytest.raises(NoSuchBox):
        api.act("status", instance_uuid="pro-1")
    assert [header for header, _, _ in seen] == [TOKEN, TOKEN]
    assert all(TOKEN not in path and TOKEN.encode() not in body for _, path, body in seen)
    # The live API refuses a GET with a body, and wallet/balance takes none.
    assert [body for _, _, body in seen] == [b"", b""]


def test_no_error_tells_a_secret(sim: Running) -> None:
    provider = AutodlProvider(clock=sim.clock, url=sim.url, token=TOKEN)
    box = record("autodl", provider.create(Order("gpubox-a-1", BOX)))
    rented = provider.ready(box, print)
    assert rented.password
    app = sim.server.app
    app._snapshot = lambda _: {"root_password": rented.password, "ssh_port": "no number"}  # type: ignore[attr-defined]
    with pytest.raises(Unreachable) as caught:
        provider.ready(box, print)
    told = [caught.value, caught.value.__cause__, caught.value.__context__]
    assert not any(rented.password in f"{error!r} {vars(error) if error else ''}" for error in told)
    assert TOKEN not in repr(provider) + repr(vars(provider))


def test_the_simulator_refuses_what_the_live_api_refuses(sim: Running) -> None:
    import httpx

    pro = f"{sim.url}/api/v1/dev/instance/pro"
    made = AutodlProvider(clock=sim.clock, url=sim.url, token=TOKEN).create(Order("gpubox-a-1", BOX))
    head = {"Authorization": TOKEN}
    right = {
        "req_gpu_amount": 1, "expand_system_disk_by_gb": 0, "gpu_spec_uuid": "4090D", "image_uuid": "image-1",
        "cuda_v_from": 118,
    }  # fmt: skip
    wrong: list[dict[str, object]] = [
        {"req_gpu_amount": 5}, {"req_gpu_amount": "1"}, {"expand_system_disk_by_gb": 501}, {"gpu_spec_uuid": "4090"},
        {"image_uuid": None}, {"cuda_v_from": None}, {"data_center_list": ["westDC2"]}, {"data_center_list": ["bj-B1"]},
    ]  # fmt: skip
    with httpx.Client(headers=head) as client:
        with_body = client.request("GET", f"{pro}/status", json={"instance_uuid": made})
        assert with_body.json()["code"] == "RequestParameterIsWrong"
        answers = [client.post(f"{pro}/create", json={**right, **change}) for change in wrong]
        assert {(a.status_code, a.json()["code"]) for a in answers} == {(200, "RequestParameterIsWrong")}
        mode = client.post(f"{pro}/power_on", json={"instance_uuid": made, "payload": "non_gpu"}).json()
        assert (mode["code"], mode["msg"]) == ("ServerError", "不支持的启动模式")
        assert client.get(f"{sim.url}/api/v1/dev/user/info").status_code == 404
    assert [one.uuid for one in sim.account.live()] == [made]
    assert WALL.now().tzinfo is not None
