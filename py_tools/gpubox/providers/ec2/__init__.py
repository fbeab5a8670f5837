"""Boxes rented from Amazon EC2."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gpubox.errors import CannotStop, Failed, GpuboxError, Unreachable
from gpubox.providers.base import Alive, Balance, Offer, Order, Price, Rented, State, Whereabouts, Wish
from gpubox.providers.clock import WALL
from gpubox.providers.ec2 import door, image, instances, judge, kinds, market, order, tags, waiting
from gpubox.providers.ec2.account import Account
from gpubox.providers.ec2.prices import Prices
from gpubox.providers.ec2.trouble import ApiError
from gpubox.remote.identity import ensure_identity, public_key
from gpubox.remote.login import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.ledger import BoxRecord
    from gpubox.preflight import Finding
    from gpubox.providers.clock import Clock

__all__ = ["Ec2Provider"]

# Groups and key pairs without a box may be those of a box that is just being made, by another gpubox.
_LITTER = timedelta(hours=1)
# How long AWS may take to show a box that it has made, in seconds.
_LAG = (0.0, 2.0, 4.0, 8.0)


class Ec2Provider:
    """One instance for each box, with a security group and a key pair of its own, all named after the order.

    `ref` is `REGION/INSTANCE-ID`. `my_address` tells the network that may log in where the box file does not.
    """

    name = "ec2"
    bills = True
    releases = True

    def __init__(self, *, clock: Clock = WALL, my_address: Callable[[], str] = door.my_address) -> None:
        self._clock = clock
        self._my_address = my_address
        self._account = Account()
        self._prices = Prices(self._account)

    def create(self, wanted: Order) -> str:
        """Rent a box; AWS knows the order by its name, so that a repeated call makes no second one.

        Raises `NoStock`, `Refused` (a quota, `max_price`), `UsageError` (a card that EC2 does not have), and
        `Unreachable` when nobody can tell: then `find` decides.
        """
        region, request = self._prepared(wanted)
        try:
            return self._run(region, wanted.name, request)
        except Unreachable:
            raise  # It may have been made, and then uses group and key.
        except GpuboxError:
            self._clear(region, wanted.name)
            raise

    def find(self, name: str) -> str | None:
        """The ref of the live box of that order, in whatever region."""
        for found in self._account.everywhere(lambda region: self._find(region, name)):
            if found is not None:
                return found
        return None

    def ready(self, record: BoxRecord, say: Callable[[str], None]) -> Rented:
        """Wait until the box runs and its SSH server answers; let this machine's address in.

        The host key is read from AWS's console, where cloud-init prints it at the first boot.
        """
        ref = self._ref(record)
        instance = waiting.until_running(self._account, self._clock, ref, record.name, say)
        region, _ = instances.parted(ref, self._account.home())
        read = tags.read(instance.get("Tags"))
        user, port, networks = tags.login(read)
        admitted, _ = self._admit(region, read, networks, port, say)
        host = instance["PublicIpAddress"]
        hint = (
            f"its security group admits SSH from {admitted}; look at `ec2.ssh_from` and `ec2.ssh_port`, and at "
            f"{ref} in AWS's console; `gpubox down {record.name}` gives it back"
        )
        waiting.until_ssh(self._clock, host, port, record.name, say, hint)
        key = record.host_key or waiting.host_key(self._account, self._clock, ref, say)
        if key is None:
            say("AWS's console does not show its host key; the first one that the box shows is taken")
        return Rented(
            ref=instances.ref_of(region, instance),
            endpoint=Endpoint(host, port, user or record.user or self._user(region, instance)),
            host_key=key,
            identity_installed=tags.ORDER in read,
            price=self._price_of(region, [instance])[instance["InstanceId"]],
        )

    def whereabouts(self, record: BoxRecord) -> Whereabouts | None:
        """Its address of now, with this machine's let in: who is elsewhere today is shut out by the security group."""
        region, instance_id = instances.parted(self._ref(record), self._account.home())
        instance = instances.get(self._account, region, instance_id)
        host = (instance or {}).get("PublicIpAddress")
        if instance is None or instances.state_of(instance) != "running" or host is None:
            return None
        read = tags.read(instance.get("Tags"))
        user, port, networks = tags.login(read)
        _, let_in = self._admit(region, read, networks, port, lambda _words: None)
        return Whereabouts(Endpoint(host, port, user or record.user or self._user(region, instance)), let_in)

    def state(self, record: BoxRecord) -> State:
        """`gone` when AWS shows it as terminated, or no longer knows it."""
        ref = record.provider_ref or (self.find(record.order) if record.order else None)
        if ref is None:
            return "gone"
        region, instance_id = instances.parted(ref, self._account.home())
        instance = instances.get(self._account, region, instance_id)
        for pause in _LAG[1:] if self._is_new(record) else ():
            if instance is not None:
                break
            self._clock.sleep(pause)
            instance = instances.get(self._account, region, instance_id)
        return instances.state_of(instance)

    def power_on(self, record: BoxRecord) -> None:
        """Start a stopped box. Raises `NoStock`: a stopped box has no claim on its cards."""
        ref = self._ref(record)
        region, instance_id = instances.parted(ref, self._account.home())
        state = self._shown(record)["State"]["Name"]
        if state in ("shutting-down", "terminated"):
            raise Failed("the box is gone, and its disk with it", where=record.name, hint=f"gpubox down {record.name}")
        if state == "stopping":
            waiting.until_state(self._account, self._clock, ref, record.name, "stopped")
        if state not in ("pending", "running"):
            self._account.ask("ec2", region, "start_instances", InstanceIds=[instance_id])

    def power_off(self, record: BoxRecord) -> None:
        """Stop the box and wait for it. Raises `CannotStop` for a spot box, which can only end."""
        ref = self._ref(record)
        region, instance_id = instances.parted(ref, self._account.home())
        instance = self._shown(record)
        state = instance["State"]["Name"]
        if state in ("stopped", "shutting-down", "terminated"):
            return
        if instances.is_spot(instance):
            raise CannotStop(
                "a spot box cannot be stopped, only given back with its disk",
                where=record.name,
                hint=f"`gpubox down {record.name}` brings home what exists only there, and then ends it",
            )
        if state == "pending":
            waiting.until_state(self._account, self._clock, ref, record.name, "running")
        if state != "stopping":
            self._account.ask("ec2", region, "stop_instances", InstanceIds=[instance_id])
        waiting.until_state(self._account, self._clock, ref, record.name, "stopped")

    def release(self, record: BoxRecord) -> None:
        """End the box with its disks, running or stopped; then its group and key pair, and older litter of ours."""
        ref = record.provider_ref or (self.find(record.order) if record.order else None)
        if ref is None:
            return
        region, instance_id = instances.parted(ref, self._account.home())
        instance = instances.get(self._account, region, instance_id)
        if instance is None:
            return
        if instances.state_of(instance) != "gone":
            self._account.ask("ec2", region, "terminate_instances", InstanceIds=[instance_id])
            waiting.until_state(self._account, self._clock, ref, record.name, "terminated")
        if (name := tags.read(instance.get("Tags")).get(tags.ORDER)) is not None:
            door.remove(self._account, region, name)
            self._tidy(region)

    def alive(self) -> list[Alive]:
        """Every instance of the account that is not terminated, of all its regions."""
        return [box for boxes in self._account.everywhere(self._alive) for box in boxes]

    def offers(self, wish: Wish) -> list[Offer]:
        """Instance types that the region has, on demand and as spot; whether there is one now, only trying tells."""
        return market.offers(self._account, self._prices, wish)

    def balance(self) -> Balance | None:
        """AWS sends bills; there is no balance."""
        return None

    def check(self) -> list[Finding]:
        """Key, permissions, quotas and prices, without renting anything."""
        return judge.check(self._account, self._prices)

    def _prepared(self, wanted: Order) -> tuple[str, dict[str, Any]]:
        """The region, and the call that rents; all that it needs is there."""
        box = wanted.box
        assert box.ec2 is not None
        kind = kinds.instance_type(box)
        region = self._account.chosen(box.ec2.region)
        limit = order.spot_limit(box, self._prices.beside(box.ec2.disk_gib)) if box.ec2.spot else None
        try:
            if box.max_price is not None:
                price = self._prices.box(region, kind, disk_gib=box.ec2.disk_gib, spot=box.ec2.spot)
                order.refuse_dearer(box, kind, price, as_of=kinds.catalogue().as_of)
            found = image.find(self._account, region, box.ec2)
            group = self._door(region, wanted, box.ec2.ssh_from or (self._my_address(),))
        except Unreachable as error:
            # `Unreachable` would say that nobody can tell.
            raise Failed(f"{error.message}; nothing was rented", where=error.where, hint=error.hint) from error
        return region, order.request(
            wanted, instance_type=kind, image=found, group=group, spot_limit=limit, now=self._clock.now()
        )

    def _door(self, region: str, wanted: Order, networks: tuple[str, ...]) -> str:
        """The group and the key pair of a new box."""
        assert wanted.box.ec2 is not None
        subnet, now = wanted.box.ec2.subnet, self._clock.now()
        vpc = None
        if subnet is not None:
            answer = self._account.ask("ec2", region, "describe_subnets", SubnetIds=[subnet])
            vpc = answer["Subnets"][0]["VpcId"]
        try:
            group = door.group(self._account, region, wanted.name, vpc, now)
            door.admit(self._account, region, group, networks, wanted.box.ec2.ssh_port)
            door.key_pair(self._account, region, wanted.name, public_key(ensure_identity()), now)
        except GpuboxError:
            self._clear(region, wanted.name)
            raise
        return group

    def _clear(self, region: str, name: str) -> None:
        """Away with the group and the key of a box that was not rented; what matters is why, so this may fail."""
        with suppress(GpuboxError):
            door.remove(self._account, region, name)

    def _run(self, region: str, name: str, request: dict[str, Any]) -> str:
        try:
            answer = self._account.ask("ec2", region, "run_instances", **request)
        except ApiError as error:
            if error.code != "IdempotentParameterMismatch":
                raise
            # The order was placed before, with other words (a newer image, another address); AWS made that box.
            for pause in _LAG:
                self._clock.sleep(pause)
                if (found := self._find(region, name)) is not None:
                    return found
            raise Failed(
                "this order was placed before, and the box of it is gone", where=name, hint="run the command again"
            ) from error
        return instances.ref_of(region, answer["Instances"][0])

    def _find(self, region: str, name: str) -> str | None:
        found = instances.live(self._account, region, name)
        return instances.ref_of(region, found[0]) if found else None

    def _alive(self, region: str) -> list[Alive]:
        found = instances.live(self._account, region)
        prices = self._price_of(region, found)
        return [instances.alive(region, instance, prices[instance["InstanceId"]]) for instance in found]

    def _price_of(self, region: str, found: list[dict[str, Any]]) -> dict[str, Price | None]:
        disks = instances.disk_gib(self._account, region, found)
        return {
            instance["InstanceId"]: self._prices.box(
                region,
                instance["InstanceType"],
                disk_gib=disks.get(instance["InstanceId"], 0),
                spot=instances.is_spot(instance),
            )
            for instance in found
        }

    def _admit(
        self,
        region: str,
        read: dict[str, str],
        networks: tuple[str, ...] | None,
        port: int,
        say: Callable[[str], None],
    ) -> tuple[str, bool]:
        """Let this machine's address into a box of ours; who is let in, in words, and whether that is new."""
        if tags.ORDER not in read:
            return "whom its owner chose", False
        if networks is None:
            try:
                networks = (self._my_address(),)
            except Unreachable as error:
                say(f"{error.message}; whom its security group admits is left as it was")
                return "the address that was let in before", False
        group = door.group(self._account, region, read[tags.ORDER], None, self._clock.now())
        new = door.admit(self._account, region, group, networks, port)
        if new:
            say(f"its security group now admits SSH from {', '.join(networks)}")
        return ", ".join(networks), new

    def _user(self, region: str, instance: dict[str, Any]) -> str:
        """Who logs in to a box that somebody else made."""
        images = self._account.ask("ec2", region, "describe_images", ImageIds=[instance["ImageId"]])["Images"]
        return image.user_of(images[0].get("Name") or "" if images else "")

    def _tidy(self, region: str) -> None:
        """Remove groups and key pairs that cut-short calls have left: they cost nothing, but they pile up."""
        for name in door.orders(self._account, region, made_before=self._clock.now() - _LITTER):
            if self._find(region, name) is None:
                door.remove(self._account, region, name)

    def _shown(self, record: BoxRecord) -> dict[str, Any]:
        region, instance_id = instances.parted(self._ref(record), self._account.home())
        instance = instances.get(self._account, region, instance_id)
        if instance is None:
            raise Failed("AWS does not know the box", where=record.name, hint=f"gpubox down {record.name}")
        return instance

    def _ref(self, record: BoxRecord) -> str:
        if record.provider_ref is None:
            raise Failed("the box was never rented", where=record.name, hint=f"gpubox up {record.name}")
        return record.provider_ref

    def _is_new(self, record: BoxRecord) -> bool:
        return self._clock.now() - record.created_at < timedelta(minutes=5)
