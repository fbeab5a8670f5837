"""CompShare's API over HTTP: one path, a signed form, HTTP 200 and a `RetCode` for everything."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sim.compshare import catalogue
from sim.compshare.account import Denied, Wanted
from sim.server import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sim.compshare.account import Box, CompshareSim
    from sim.server import Request

_SECRET = ("PublicKey", "Signature", "Password")
_PAGE = 20
_LONGEST_PAGE = 100
_NAME_LIMIT = 63


class CompshareApp:
    """Answers for one account, to whoever signs with its keys."""

    def __init__(self, account: CompshareSim, keys: tuple[str, str]) -> None:
        self.account = account
        self.faults = account.faults
        self.clock = account.clock
        self._keys = keys
        self._actions = {
            "GetProjectList": self._projects,
            "GetBalance": self._balance,
            "DescribeCompShareSupportZone": self._zones,
            "DescribeAvailableCompShareInstanceTypes": self._types,
            "DescribeCompShareImages": self._images,
            "CheckCompShareResourceCapacity": self._capacity,
            "GetCompShareInstancePrice": self._price,
            "CreateCompShareInstance": self._create,
            "DescribeCompShareInstance": self._describe,
            "StartCompShareInstance": self._start,
            "StopCompShareInstance": self._stop,
            "TerminateCompShareInstance": self._terminate,
            "UpdateCompShareStopScheduler": self._plan_stop,
            "DeleteCompShareStopScheduler": self._forget_stop,
        }

    def operation(self, request: Request) -> tuple[str, dict[str, Any]]:
        """The action and its parameters, without keys."""
        form = request.form()
        parameters = {name: value for name, value in form.items() if name not in (*_SECRET, "Action")}
        return form.get("Action", "?"), parameters

    def bills(self) -> dict[str, Decimal]:
        """What each box has cost, in yuan."""
        with self.account.lock:
            self.account.settle()
            return {ref: meter.amount(self.clock.now()) for ref, meter in self.account.wallet.meters.items()}

    def answer(self, request: Request) -> Response:
        """Every no has HTTP 200, too."""
        form = request.form()
        action = form.get("Action", "")
        try:
            self._admit(form, action)
            with self.account.lock:
                self.account.settle()
                return _envelope(action, 0, "", self._actions[action](form))
        except Denied as no:
            return _envelope(action, no.code, no.message, {})

    def success(self, request: Request) -> Response:
        """As if it had been done; a box that does not exist."""
        form = request.form()
        made = {"CreateCompShareInstance": {"UHostIds": [f"cpod-{secrets.token_hex(6)}"]}}
        return _envelope(form.get("Action", ""), 0, "", made.get(form.get("Action", ""), {}))

    def error(self, request: Request, code: str, message: str) -> Response:
        """Without a code: its internal one."""
        return _envelope(request.form().get("Action", ""), int(code or 8433), message or "service error", {})

    def _admit(self, form: Mapping[str, str], action: str) -> None:
        public, private = self._keys
        if form.get("PublicKey") != public:
            raise Denied(172, "User Not Exists")
        signed = {name: value for name, value in form.items() if name != "Signature"}
        if not hmac.compare_digest(signature(signed, private), form.get("Signature", "")):
            raise Denied(171, "Signature VerifyAC Error")
        if action not in self._actions:
            raise Denied(161, f"Action [{action}] not exist")

    def _projects(self, _: Mapping[str, str]) -> dict[str, Any]:
        settings = self.account.settings
        if not settings.sees_projects:
            raise Denied(299, "IAM permission error")
        listed = [{"ProjectId": one, "IsDefault": one == settings.default_project} for one in settings.projects]
        return {"ProjectSet": listed, "ProjectCount": len(listed)}

    def _balance(self, _: Mapping[str, str]) -> dict[str, Any]:
        if not self.account.settings.sees_money:
            raise Denied(299, "IAM permission error")
        left = self.account.balance().quantize(Decimal("0.01"))
        return {"AccountInfo": {"Amount": str(left), "AmountAvailable": str(left), "AmountFreeze": "0.00"}}

    def _zones(self, _: Mapping[str, str]) -> dict[str, Any]:
        return {"ZoneInfo": [{"Region": region, "Zone": zone, "Describe": zone} for region, zone in catalogue.ZONES]}

    def _types(self, form: Mapping[str, str]) -> dict[str, Any]:
        _need(form, "Region")
        listed = []
        for (zone, name), card in catalogue.CARDS.items():
            if form.get("Zone", zone) != zone:
                continue
            counts = dict.fromkeys(gpus for gpus, _, _ in card.sizes)
            sizes = [
                {"Gpu": count, "Collection": [{"Cpu": c, "Memory": [m]} for g, c, m in card.sizes if g == count]}
                for count in counts
            ]
            listed.append(
                {"Name": name, "Zone": zone, "Status": "Normal", "GraphicsMemory": {"Value": card.vram, "Rate": 1}}
                | {"MachineSizes": sizes}
            )
        return {"AvailableInstanceTypes": listed}

    def _images(self, form: Mapping[str, str]) -> dict[str, Any]:
        if form.get("Zone") == catalogue.PICKY_ZONE and "Limit" in form:
            raise Denied(230, "Params [Limit] not available")
        kind = form.get("ImageType", "System")
        return _page([one for one in catalogue.IMAGES if one["ImageType"] == kind], form, "ImageSet")

    def _capacity(self, form: Mapping[str, str]) -> dict[str, Any]:
        need = ("Region", "Zone", "GpuType", "MachineType", "MinimalCpuPlatform", "CompShareImageId", "ChargeType")
        _need(form, *need, "Disks.0.Size")
        card = _rented(form)
        enough = self.account.in_stock(form["GpuType"])
        return {"Specs": [{"Gpu": g, "Cpu": c, "Mem": m, "ResourceEnough": enough} for g, c, m in card.sizes]}

    def _price(self, form: Mapping[str, str]) -> dict[str, Any]:
        _need(form, "Region", "Zone", "GpuType", "Gpu", "Cpu", "Memory")
        _rented({**form, "CompShareImageId": form.get("CompShareImageId", "compshareImage-vm")})
        size = (int(form["Gpu"]), int(form["Cpu"]), int(form["Memory"]) // 1024)
        # Without a way of payment it answers for all of them, the month first.
        asked = [form["ChargeType"]] if "ChargeType" in form else list(reversed(catalogue.CHARGES))
        disk = int(form.get("Disks.0.Size", "0"))
        return {
            "PriceDetails": [
                {
                    "ChargeType": charge,
                    "Instance": float(catalogue.instance_price(form["Zone"], form["GpuType"], size, charge)),
                    "SystemDisks": float(catalogue.disk_price(disk, charge)),
                    "Disks": 0,
                    "CompShareImage": 0,
                }
                for charge in asked
            ]
        }

    def _create(self, form: Mapping[str, str]) -> dict[str, Any]:
        _need(form, "Region", "Zone", "GpuType", "GPU", "CPU", "Memory", "CompShareImageId", "Disks.0.Size")
        if (form["Zone"], form["GpuType"]) not in catalogue.CARDS:
            raise Denied(8333, "cpu memory ratio not in 2:1 - 1:12")
        card = _rented(form)
        size = (int(form["GPU"]), int(form["CPU"]), int(form["Memory"]) // 1024)
        if int(form["Memory"]) % 1024 or size not in card.sizes:
            raise Denied(230, "Params [Memory] not available")
        if len(form.get("Name", "")) > _NAME_LIMIT:
            raise Denied(230, "Params [Name] not available")
        wanted = Wanted(
            name=form.get("Name", "host"),
            project=form.get("ProjectId", self.account.settings.default_project),
            region=form["Region"],
            zone=form["Zone"],
            gpu=form["GpuType"],
            size=size,
            image=form["CompShareImageId"],
            charge=form.get("ChargeType", "Month"),
            disk=int(form["Disks.0.Size"]),
        )
        boxes = [self.account.create(wanted) for _ in range(int(form.get("MaxCount", "1")))]
        return {"UHostIds": [box.ref for box in boxes], "Warning": None}

    def _describe(self, form: Mapping[str, str]) -> dict[str, Any]:
        settings = self.account.settings
        refs = {value for name, value in form.items() if name.startswith("UHostIds.")}
        listed_since = self.clock.now() - timedelta(seconds=settings.list_seconds)
        shown = [
            self._shown(box)
            for box in self.account.live()
            if box.wanted.project == form.get("ProjectId", settings.default_project)
            and form.get("Region", box.wanted.region) == box.wanted.region
            and form.get("Zone", box.wanted.zone) == box.wanted.zone
            and (not refs or box.ref in refs)
            and (not settings.hide_without_gpu or box.without_gpu == (form.get("WithoutGpu") == "true"))
            and (box.created_at <= listed_since or not settings.list_seconds)
        ]
        return _page(shown, form, "UHostSet")

    def _shown(self, box: Box) -> dict[str, Any]:
        wanted, on = box.wanted, box.state == "Running"
        release = box.stopped_at + timedelta(days=self.account.settings.off_days) if box.stopped_at else None
        off = box.state == "Stopped"
        # Where real machines would have a public address there is only this one.
        address = box.machine.host
        return {
            "UHostId": box.ref,
            "Name": wanted.name,
            "Region": wanted.region,
            "Zone": wanted.zone,
            "InstanceType": "Container" if box.container else "UHost",
            "State": box.state,
            "Password": base64.b64encode(box.password.encode()).decode(),
            "SshLoginCommand": f"ssh -p {box.machine.port} {box.machine.user}@{address}" if on else "",
            "IPSet": [{"IP": "10.60.1.2", "Type": "Private", "IPMode": "IPv4"}]
            + ([{"IP": address, "Type": "Bgp", "IPMode": "IPv4"}] if on else []),
            "DiskSet": [{"DiskId": f"bsi-{box.ref}", "IsBoot": "True", "Type": "Boot", "Size": wanted.disk}]
            + [
                {"DiskId": f"bsm-{number}", "IsBoot": "False", "Type": "Data", "Size": size}
                for number, size in enumerate(box.data_disks)
            ],
            "GpuType": wanted.gpu,
            "GPU": 0 if box.without_gpu else wanted.size[0],
            "CPU": wanted.size[1],
            "Memory": wanted.size[2] * 1024,
            "ChargeType": wanted.charge,
            "InstancePrice": float(box.instance_price),
            "CompShareImagePrice": 0,
            "DiskPriceInfo": [{"ChargeType": wanted.charge, "IsBoot": True, "Price": float(box.disk_price)}],
            "PostPayPowerOffBillingResource": [
                {"ChargeType": wanted.charge, "IsBoot": True, "Price": float(box.disk_price)}
            ]
            if box.disk_price and wanted.charge == "Postpay"
            else None,
            "CompShareImageId": wanted.image,
            "SupportWithoutGpuStart": catalogue.CARDS[wanted.zone, wanted.gpu].without_gpu,
            "CreateTime": int(box.created_at.timestamp()),
            "SchedulerStopTime": int(box.stop_at.timestamp()) if box.stop_at else 0,
            "ReleaseTime": int(release.timestamp()) if off and release else 0,
        }

    def _start(self, form: Mapping[str, str]) -> dict[str, Any]:
        self._right_place(form)
        # A value that it does not understand is ignored, and the box starts with its GPU.
        self.account.start(form["UHostId"], without_gpu=form.get("WithoutGpu") == "true")
        return {"UHostId": form["UHostId"]}

    def _stop(self, form: Mapping[str, str]) -> dict[str, Any]:
        self._right_place(form)
        self.account.stop(form["UHostId"], force=form.get("Force") == "true")
        return {"UHostId": form["UHostId"]}

    def _terminate(self, form: Mapping[str, str]) -> dict[str, Any]:
        self._right_place(form)
        self.account.terminate(form["UHostId"])
        return {"UHostId": form["UHostId"], "InRecycle": "Yes"}

    def _plan_stop(self, form: Mapping[str, str]) -> dict[str, Any]:
        _need(form, "ProjectId", "SchedulerStopTime")
        self._right_place(form)
        self.account.plan_stop(form["UHostId"], datetime.fromtimestamp(int(form["SchedulerStopTime"]), UTC))
        return {"UHostId": form["UHostId"]}

    def _forget_stop(self, form: Mapping[str, str]) -> dict[str, Any]:
        _need(form, "ProjectId", "Region", "UHostId")
        self.account.plan_stop(form["UHostId"], None)
        return {"UHostId": form["UHostId"]}

    def _right_place(self, form: Mapping[str, str]) -> None:
        """Every change names the box, and where it is."""
        _need(form, "Region", "Zone", "UHostId")
        wanted = self.account.get(form["UHostId"]).wanted
        if (form["Region"], form["Zone"]) != (wanted.region, wanted.zone):
            raise Denied(230, "Params [Zone] not available")
        if form.get("ProjectId", self.account.settings.default_project) != wanted.project:
            raise Denied(230, "Params [UHostId] not available")


def signature(parameters: Mapping[str, str], private_key: str) -> str:
    """Sorted names, each with its value behind it, then the private key; SHA-1 in hex."""
    text = "".join(f"{name}{parameters[name]}" for name in sorted(parameters)) + private_key
    return hashlib.sha1(text.encode()).hexdigest()


def _envelope(action: str, code: int, message: str, data: Mapping[str, Any]) -> Response:
    return Response.of({"RetCode": code, "Action": f"{action}Response", "Message": message, **data})


def _need(form: Mapping[str, str], *names: str) -> None:
    for name in names:
        if not form.get(name):
            raise Denied(210, f"Missing params [{name}]")


def _rented(form: Mapping[str, str]) -> catalogue.Card:
    """The kind of card that is asked for, if it can be had there, with that image, so paid. Raises `Denied`."""
    card = catalogue.CARDS.get((form["Zone"], form["GpuType"]))
    image = catalogue.image(form["CompShareImageId"])
    charge = form.get("ChargeType", "Month")
    if card is None:
        raise Denied(230, "Params [GpuType] not available")
    if image is None:
        raise Denied(230, "Params [CompShareImageId] not available")
    if charge not in catalogue.CHARGES or (form["Zone"] == catalogue.PICKY_ZONE and charge == "Dynamic"):
        raise Denied(230, "Params [ChargeType] not available")
    supported = image.get("SupportedGpuTypes")
    if isinstance(supported, list) and form["GpuType"] not in supported:
        raise Denied(226603, "gpu type is not support current image, You can try another gpu type")
    return card


def _page(items: list[Any], form: Mapping[str, str], key: str) -> dict[str, Any]:
    limit, offset = int(form.get("Limit", _PAGE)), int(form.get("Offset", "0"))
    if not 1 <= limit <= _LONGEST_PAGE:
        raise Denied(230, "Params [Limit] not available")
    page = items[offset : offset + limit] if "Limit" in form or key == "UHostSet" else items
    # An empty list is null.
    return {"TotalCount": len(items), key: page or None}
