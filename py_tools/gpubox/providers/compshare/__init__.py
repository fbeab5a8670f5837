"""Provider `compshare`: boxes from CompShare (优云智算), over the official SDK."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gpubox.errors import Failed, GpuboxError, Unreachable
from gpubox.providers.base import Rented, Whereabouts
from gpubox.providers.clock import WALL
from gpubox.providers.compshare import hosts, market
from gpubox.providers.compshare.account import Account
from gpubox.providers.compshare.api import Api
from gpubox.providers.compshare.arrival import LIST_SECONDS, arrived
from gpubox.providers.compshare.changes import Changes
from gpubox.providers.compshare.order import Planner

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from gpubox.ledger import BoxRecord
    from gpubox.preflight import Finding
    from gpubox.providers.base import Alive, Balance, Offer, Order, State, Wish
    from gpubox.providers.clock import Clock
    from gpubox.providers.compshare.api import Answer


class CompshareProvider:
    """One account. Nothing is asked, and no key looked for, before the first call.

    `url`: `$GPUBOX_COMPSHARE_URL`, else the real one. `keys`: public and private; left out, as `accounts` finds them.
    """

    name = "compshare"
    bills = True
    releases = True
    can_prepare_without_gpu = True

    def __init__(
        self,
        *,
        clock: Clock = WALL,
        url: str | None = None,
        keys: tuple[str, str] | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._clock = clock
        self._api = Api(clock, url=url, keys=keys, timeout=timeout)
        self._account = Account(self._api)
        self._planner = Planner(self._api, self._account)
        self._changes = Changes(self._api, self._account)
        self._made: dict[str, datetime] = {}  # when this process rented a box
        self._stops: dict[str, datetime] = {}  # the stop that shall be planned for it

    def create(self, order: Order) -> str:
        """Rent the cheapest box in stock, paid by the second unless the box file says otherwise.

        Its stop is planned at once; what could not be planned then, `ready` does before it hands the box over.
        """
        plan = self._planner.plan(order.box)
        ref = _made(self._api.once("CreateCompShareInstance", plan.parameters(order.name)), order.name)
        self._made[ref] = self._clock.now()
        if order.power_off_after is not None:
            self._stops[ref] = self._clock.now() + order.power_off_after
            self._plan_first_stop(plan.region, plan.zone, plan.project, ref)
        return ref

    def find(self, name: str) -> str | None:
        """Raises `Failed` when two boxes have that name. A box that was made just now may not be in the list yet."""
        refs = [host.ref for host in self._account.hosts() if host.name == name]
        if len(refs) > 1:
            raise Failed(
                f"two boxes have the name of one order: {' and '.join(refs)}",
                where=name,
                hint="release the one that is not needed in the console: https://console.compshare.cn",
            )
        return refs[0] if refs else None

    def ready(self, record: BoxRecord, say: Callable[[str], None]) -> Rented:
        """Until it greets. A stop that is wanted (`guard_at`) and that CompShare does not show is planned here."""
        ref = _ref(record)
        host, endpoint = arrived(self._account, self._clock, ref, say, self._made.get(ref))
        self._see_to_stop(host, self._stops.get(ref) or record.guard_at)
        self._stops.pop(ref, None)
        return Rented(ref, endpoint, password=hosts.password(host), price=hosts.price(host))

    def whereabouts(self, record: BoxRecord) -> Whereabouts | None:
        """By the login line that its list shows."""
        host = self._account.host(_ref(record))
        endpoint = hosts.endpoint(host) if host is not None and host.state == "running" else None
        return Whereabouts(endpoint) if endpoint is not None else None

    def state(self, record: BoxRecord) -> State:
        """`starting` for a box that was rented a moment ago and is not in the list yet."""
        if (ref := record.provider_ref) is None:
            return "unknown"
        host = self._account.host(ref)
        if host is not None:
            return host.state
        made = self._made.get(ref)
        return "starting" if made and (self._clock.now() - made).total_seconds() < LIST_SECONDS else "gone"

    def power_on(self, record: BoxRecord) -> None:
        """With its GPU, which may be out of stock by now."""
        self._changes.power_on(_ref(record))

    def power_on_without_gpu(self, record: BoxRecord) -> None:
        """With one vCPU and no GPU, for downloads, at 0.15 CNY an hour. One box of an account at a time.

        Power it off before it is powered on with its GPU. Raises `Refused` where the card does not allow it.
        """
        self._changes.power_on(_ref(record), without_gpu=True)

    def power_off(self, record: BoxRecord) -> None:
        """Spot boxes, too. A box that is starting is awaited first: CompShare stops only what runs."""
        self._changes.power_off(_ref(record))

    def release(self, record: BoxRecord) -> None:
        """Raises `Refused` for a box that is not off, and for one with a data disk that a person has attached."""
        ref = _ref(record)
        self._changes.release(ref)
        self._made.pop(ref, None)

    def guard_until(self, record: BoxRecord, when: datetime | None) -> datetime | None:
        """Have CompShare itself stop the box at `when`, whatever becomes of this machine; None: take that back.

        Returns the time that CompShare then shows; it takes no sooner one than in five minutes.
        """
        return self._changes.stop_at(_ref(record), when)

    def guarded_until(self, record: BoxRecord) -> datetime | None:
        """When CompShare will stop the box; None: never."""
        return hosts.planned_stop(self._changes.need(_ref(record)))

    def alive(self) -> list[Alive]:
        """Of all regions and projects."""
        return [hosts.alive(host) for host in self._account.hosts()]

    def offers(self, wish: Wish) -> list[Offer]:
        """Pay-as-you-go, in every zone."""
        return market.offers(self._planner, self._account, wish)

    def balance(self) -> Balance | None:
        """What can be spent; None where the key may not see it."""
        return self._account.balance()

    def check(self) -> list[Finding]:
        """Key, lists, balance."""
        return market.check(self._account)

    def _plan_first_stop(self, region: str, zone: str, project: str | None, ref: str) -> None:
        host = hosts.Host({"UHostId": ref, "Region": region, "Zone": zone}, project)
        try:
            self._changes.plan_stop(host, self._changes.soonest(self._stops[ref]))
        except GpuboxError:
            return  # A box that is being made may not take it yet; `ready` sees to it, and fails where it cannot.

    def _see_to_stop(self, host: hosts.Host, wanted: datetime | None) -> None:
        if wanted is None or wanted <= self._clock.now() or host.charge == "Spot":
            return
        planned = hosts.planned_stop(host)
        # A stop that is planned too early would be noticed; one that comes later than wanted would cost.
        if planned is None or planned > wanted + timedelta(minutes=6):
            self._changes.stop_at(host.ref, wanted)


def _made(answer: Answer, name: str) -> str:
    """The ref of the box that was made. Raises `Unreachable` for an answer without one: only the list can tell."""
    for ref in answer.get("UHostIds") or []:
        return str(ref)
    raise Unreachable("CompShare says that it made a box, and does not say which", where=name)


def _ref(record: BoxRecord) -> str:
    if record.provider_ref:
        return record.provider_ref
    raise Failed(
        f"it is not known which of CompShare's boxes `{record.name}` is",
        where=record.name,
        hint=f"gpubox up {record.name}",
    )
