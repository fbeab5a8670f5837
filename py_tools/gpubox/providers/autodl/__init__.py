"""Boxes rented from AutoDL through its official Pro API (docs/provider-autodl.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.boxfile.autodl import Autodl
from gpubox.boxfile.autodl_cards import card, mistakes
from gpubox.errors import Failed, Unreachable, UsageError
from gpubox.providers.autodl import account, power, rows
from gpubox.providers.autodl.client import Api, NotSent, unreadable
from gpubox.providers.autodl.refusals import NoSuchBox
from gpubox.providers.base import Balance, State
from gpubox.providers.clock import WALL
from gpubox.providers.first_guard import shell_guard

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.ledger import BoxRecord
    from gpubox.preflight import Finding
    from gpubox.providers.autodl.rows import Image
    from gpubox.providers.base import Alive, Offer, Order, Rented, Whereabouts, Wish
    from gpubox.providers.clock import Clock


class AutodlProvider:
    """`url` and `token`: by default AutoDL's, or `$GPUBOX_AUTODL_URL`; and what `accounts` finds at the first call."""

    name = "autodl"
    bills = True
    releases = True

    def __init__(self, *, clock: Clock = WALL, url: str | None = None, token: str | None = None) -> None:
        self._clock = clock
        self._api = Api(url=url, token=token, clock=clock)

    def create(self, order: Order) -> str:
        """Rent a box; it boots by itself. Asked once: AutoDL would make a second box of a second call.

        Raises `UsageError` for a card that AutoDL's API does not rent.
        """
        asked = _request(order)
        try:
            ref = self._api.act("create", **asked)
            if not isinstance(ref, str) or not ref:
                raise unreadable("create")
        except NotSent:
            raise
        except Unreachable as error:
            raise Unreachable(
                f"nobody can tell whether AutoDL made the box `{order.name}`: {error.message}",
                where=error.where,
                hint="`gpubox sweep` shows every box of the account",
            ) from error
        return ref

    def find(self, name: str) -> str | None:
        """The newest live box of that name."""
        return next((row.uuid for row in account.boxes(self._api) if row.name == name), None)

    def ready(self, record: BoxRecord, say: Callable[[str], None]) -> Rented:
        """Wait for `running` and for the SSH server's greeting, which comes later. At most 15 minutes."""
        return power.ready(self._api, self._clock, _ref(record), say)

    def whereabouts(self, record: BoxRecord) -> Whereabouts | None:
        """As its snapshot has it: a box that was restarted in the console has another port."""
        return power.whereabouts(self._api, _ref(record))

    def state(self, record: BoxRecord) -> State:
        """`gone` only when the list lacks it too; `unknown` for a box that was never rented, or a new word."""
        if record.provider_ref is None:
            return "unknown"
        try:
            return rows.state(power.status(self._api, record.provider_ref))
        except NoSuchBox:
            listed = (row for row in account.boxes(self._api) if row.uuid == record.provider_ref)
            return next((rows.state(row.status) for row in listed), "gone")

    def power_on(self, record: BoxRecord) -> None:
        """Its GPU was not kept for it: `NoStock` is to be expected. The first guard starts anew with the box."""
        power.on(self._api, self._clock, _ref(record))

    def power_off(self, record: BoxRecord) -> None:
        """Asks again where AutoDL took the request and lost it. At most 5 minutes."""
        power.off(self._api, self._clock, _ref(record))

    def release(self, record: BoxRecord) -> None:
        """Raises `Failed` for a box that is not off. One that is gone already is well."""
        try:
            self._api.act("release", instance_uuid=_ref(record))
        except NoSuchBox:
            return

    def alive(self) -> list[Alive]:
        """Every Pro box of the account; ordinary ones are not seen by the API. Prices of those that run."""
        return account.alive(self._api)

    def offers(self, wish: Wish) -> list[Offer]:
        """By card, data centre and number of cards; prices are those seen last, for AutoDL tells none beforehand."""
        return account.offers(self._api, wish)

    def balance(self) -> Balance | None:
        """Without vouchers."""
        return Balance(rows.yuan(account.wallet(self._api).assets), rows.CURRENCY)

    def check(self) -> list[Finding]:
        """Token, real-name verification, money, and whether stock can be asked for."""
        return account.check(self._api)

    def save_image(self, record: BoxRecord, name: str) -> str:
        """Begin to save the system disk of a stopped box as a private image, and return its id.

        It can be rented with when `images` shows it `finished`. Raises `Failed` for a box that is not off.
        """
        data = self._api.act("image_save", instance_uuid=_ref(record), image_name=name)
        if not isinstance(data, dict) or not isinstance(data.get("image_uuid"), str):
            raise unreadable("image_save")
        return str(data["image_uuid"])

    def images(self) -> list[Image]:
        """The private images of the account, newest first."""
        return account.images(self._api)


def _request(order: Order) -> dict[str, object]:
    """What `create` is asked with."""
    box = order.box
    section = box.autodl or Autodl()
    name, count = (box.gpu.name, box.gpu.count) if box.gpu else (None, 1)
    for path, message in mistakes(name, count, section.gpu_spec):
        raise UsageError(message, where=".".join(path), hint=f"mend `{'.'.join(path)}` in the box file")
    kind = card(section.gpu_spec or name or "")
    assert kind is not None
    asked: dict[str, object] = {
        "req_gpu_amount": count,
        "expand_system_disk_by_gb": section.expand_system_disk_gb,
        "gpu_spec_uuid": kind.spec,
        "image_uuid": section.image,
        "cuda_v_from": section.cuda_v_from,
        "instance_name": order.name,
    }
    if section.data_centers:
        asked["data_center_list"] = list(section.data_centers)
    if order.power_off_after is not None:
        asked["start_command"] = shell_guard(int(order.power_off_after.total_seconds()))
    return asked


def _ref(record: BoxRecord) -> str:
    if record.provider_ref is None:
        raise Failed(
            f"`{record.name}` has not been rented", where=record.name, hint=f"rent it: `gpubox up {record.name}`"
        )
    return record.provider_ref
