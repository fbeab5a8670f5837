"""AutoDL's Pro API over HTTP: the envelope, the paths, the fields, as documented and as seen live."""

from __future__ import annotations

import secrets
from datetime import timedelta, timezone
from typing import TYPE_CHECKING, Any

from sim.autodl.account import NAMES, PRICES, REGIONS, Denied, wrong_parameter
from sim.server import Response

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from decimal import Decimal

    from sim.autodl.account import AutodlSim, Instance
    from sim.server import Request

_PRO = "/api/v1/dev/instance/pro/"
_OPERATIONS = {
    ("POST", "/api/v1/dev/wallet/balance"): "balance",
    ("POST", f"{_PRO}create"): "create",
    ("GET", f"{_PRO}snapshot"): "snapshot",
    ("GET", f"{_PRO}status"): "status",
    ("POST", f"{_PRO}list"): "list",
    ("POST", f"{_PRO}power_on"): "power_on",
    ("POST", f"{_PRO}power_off"): "power_off",
    ("POST", f"{_PRO}release"): "release",
    ("POST", f"{_PRO}image/save"): "image_save",
    ("POST", f"{_PRO}image/private/list"): "images",
    ("POST", "/api/v1/dev/machine/region/gpu_stock"): "gpu_stock",
}
_CHINA = timezone(timedelta(hours=8))
_NEVER = {"Time": "0001-01-01T00:00:00Z", "Valid": False}
_STATUS_MODES = ("gpu", "")


class AutodlApp:
    """Answers for one account, to whoever has its developer token."""

    def __init__(self, account: AutodlSim, token: str) -> None:
        self.account = account
        self.faults = account.faults
        self.clock = account.clock
        self._token = token

    def operation(self, request: Request) -> tuple[str, dict[str, Any]]:
        """For the log; nothing in a request but its header is secret."""
        name = _OPERATIONS.get((request.method, request.path), f"unknown {request.method} {request.path}")
        try:
            body = request.json()
        except ValueError:
            body = {}
        return name, {**request.query, **(body if isinstance(body, dict) else {})}

    def bills(self) -> dict[str, Decimal]:
        """What each box has cost, in yuan."""
        with self.account.lock:
            self.account.settle()
            return {ref: meter.amount(self.clock.now()) for ref, meter in self.account.wallet.meters.items()}

    def answer(self, request: Request) -> Response:
        """Errors come with HTTP 200 too."""
        name, _ = self.operation(request)
        if name.startswith("unknown "):
            return Response(b"404 page not found", 404, "text/plain")
        try:
            self._admit(request)
            with self.account.lock:
                return _envelope("Success", getattr(self, f"_{name}")(_parameters(request)))
        except Denied as no:
            return _envelope(no.code, None, no.message)

    def success(self, request: Request) -> Response:
        """As if it had been done: a box that does not exist, an image that is not saved."""
        made: dict[str, Callable[[], object]] = {
            "create": lambda: f"pro-{secrets.token_hex(6)}",
            "image_save": lambda: {"image_uuid": f"image-{secrets.token_hex(5)}"},
        }
        name, _ = self.operation(request)
        return _envelope("Success", made.get(name, lambda: None)())

    def error(self, request: Request, code: str, message: str) -> Response:
        """An error with HTTP 200."""
        return _envelope(code or "InternalError", None, message or "系统内部错误")

    def _balance(self, _: dict[str, Any]) -> object:
        self.account.settle()
        left, spent = self.account.balance(), self.account.wallet.spent(self.clock.now())
        return {"assets": int(left * 1000), "accumulate": int(spent * 1000), "voucher_balance": 0}

    def _create(self, asked: dict[str, Any]) -> object:
        self._verified()
        regions = asked.get("data_center_list") or list(REGIONS)
        spec, image = asked.get("gpu_spec_uuid"), asked.get("image_uuid")
        right = (
            spec in PRICES
            and isinstance(regions, list)
            and all(region in REGIONS for region in regions)
            and _whole(asked, "req_gpu_amount", 1, 4)
            and _whole(asked, "expand_system_disk_by_gb", 0, 500)
            and _whole(asked, "cuda_v_from", 1, 999)
            and isinstance(image, str)
            and image.startswith(("image-", "base-image-"))
            and isinstance(asked.get("instance_name", ""), str)
            and isinstance(asked.get("start_command", ""), str)
        )
        if not right:
            raise wrong_parameter()
        one = self.account.create(
            asked.get("instance_name", ""),
            str(spec),
            asked["req_gpu_amount"],
            regions[0],
            asked.get("start_command", ""),
        )
        return one.uuid

    def _status(self, asked: dict[str, Any]) -> object:
        return self._one(asked).status

    def _snapshot(self, asked: dict[str, Any]) -> object:
        one = self._one(asked)
        on = one.status == "running"
        host, port = (one.machine.host, one.machine.port) if on else ("", 0)
        return {
            "region_sign": REGIONS[one.region][0],
            "payg_price": int(one.per_hour * 1000) if on else 0,
            "origin_pay_price": int(one.per_hour * 1500) if on else 0,
            "snapshot_gpu_alias_name": NAMES[one.spec],
            "chip_corp": "nvidia",
            "cpu_arch": "x86",
            "usage_info": {"container_id": f"autodl-{one.uuid}", "mem_limit": 21474836480, "data_disk_total_size": 0},
            "ssh_command": f"ssh -p {port} {one.machine.user}@{host}" if on else "",
            "proxy_host": host,
            "root_password": one.password if on else "",
            "ssh_port": port,
            "jupyter_token": "",
            "jupyter_domain": "",
            "service_6006_domain": "",
            "service_6008_domain": "",
        }

    def _list(self, asked: dict[str, Any]) -> object:
        self._verified()
        return self._page(asked, [_row(one) for one in self.account.live()])

    def _power_on(self, asked: dict[str, Any]) -> object:
        one = self._one(asked)
        if asked.get("payload", "gpu") not in _STATUS_MODES:
            raise Denied("ServerError", "不支持的启动模式")
        self.account.power_on(one.uuid, asked.get("start_command"))
        return {"description": "开机指令已下发，请稍后关注实例最新状态"}

    def _power_off(self, asked: dict[str, Any]) -> object:
        self.account.power_off(self._one(asked).uuid)
        return None

    def _release(self, asked: dict[str, Any]) -> object:
        self.account.release(self._one(asked).uuid)
        return None

    def _image_save(self, asked: dict[str, Any]) -> object:
        name = asked.get("image_name")
        if not isinstance(name, str) or not name:
            raise wrong_parameter()
        return {"image_uuid": self.account.save_image(self._one(asked).uuid, name).uuid}

    def _images(self, asked: dict[str, Any]) -> object:
        now = self.clock.now()
        rows = [
            {
                "image_uuid": image.uuid,
                "name": image.name,
                "status": "finished" if image.finished_at <= now else "creating",
                "image_size": 56125440 if image.finished_at <= now else 0,
                "create_at": _time(image.created_at),
            }
            for image in self.account.images
        ]
        return self._page(asked, rows)

    def _gpu_stock(self, asked: dict[str, Any]) -> object:
        if not self.account.settings.enterprise:
            raise Denied("BadRequest", "无当前资源访问权限")
        if not _whole(asked, "cuda_v_from", 1, 999) or not _whole(asked, "cuda_v_to", 1, 999):
            raise wrong_parameter()
        if asked.get("region_sign") not in REGIONS:
            return []
        return [
            {name: {"idle_gpu_num": idle, "total_gpu_num": 2285, "chip_corp": "nvidia", "cpu_arch": "x86"}}
            for name, idle in self.account.settings.idle.items()
        ]

    def _admit(self, request: Request) -> None:
        """The raw token; with `Bearer` before it, it is another one."""
        if request.headers.get("authorization") != self._token:
            raise Denied("AuthorizeFailed", "登陆超时，请重新登录")

    def _verified(self) -> None:
        if not self.account.settings.real_name:
            raise Denied("TORealName", "未完成实名认证,认证后才可使用")

    def _one(self, asked: dict[str, Any]) -> Instance:
        self._verified()
        uuid = asked.get("instance_uuid")
        if not isinstance(uuid, str) or not uuid:
            raise wrong_parameter()
        return self.account.get(uuid)

    def _page(self, asked: dict[str, Any], rows: list[dict[str, Any]]) -> object:
        if not _whole(asked, "page_index", 1, 1 << 31) or not _whole(asked, "page_size", 1, 1 << 31):
            raise wrong_parameter()
        size = min(asked["page_size"], self.account.settings.page_limit)
        index = asked["page_index"]
        return {
            "list": rows[(index - 1) * size : index * size],
            "page_index": index,
            "page_size": size,
            "offset": (index - 1) * size,
            "max_page": -(-len(rows) // size),
            "result_total": len(rows),
            "page": index,
        }


def _parameters(request: Request) -> dict[str, Any]:
    """The live API reads a GET's parameters from its query string only, and refuses one with a body."""
    if request.method == "GET":
        if request.body:
            raise wrong_parameter()
        return dict(request.query)
    try:
        body = request.json()
    except ValueError:
        raise wrong_parameter() from None
    if not isinstance(body, dict):
        raise wrong_parameter()
    return body


def _envelope(code: str, data: object, message: str = "") -> Response:
    return Response.of({"code": code, "data": data, "msg": message, "request_id": secrets.token_hex(16)})


def _row(one: Instance) -> dict[str, Any]:
    return {
        "created_at": _time(one.created_at),
        "uuid": one.uuid,
        "machine_id": "4d67438b4f",
        "machine_alias": "",
        "region_sign": REGIONS[one.region][0],
        "region_name": REGIONS[one.region][1],
        "status": one.status,
        "sub_status": "",
        "status_at": _time(one.status_at or one.created_at),
        "start_mode": "gpu",
        "charge_type": "payg",
        "req_gpu_amount": one.amount,
        "expired_at": _NEVER,
        "started_at": _maybe(one.started_at),
        "stopped_at": _maybe(one.stopped_at),
        "name": one.name,
        "timed_shutdown_at": _NEVER,
        "gpu_spec_uuid": one.spec,
    }


def _maybe(at: datetime | None) -> dict[str, Any]:
    return {"Time": _time(at), "Valid": True} if at is not None else _NEVER


def _time(at: datetime) -> str:
    return at.astimezone(_CHINA).isoformat(timespec="seconds")


def _whole(asked: dict[str, Any], name: str, least: int, most: int) -> bool:
    value = asked.get(name)
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
