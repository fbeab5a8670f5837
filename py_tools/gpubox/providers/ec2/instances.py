"""Instances as AWS shows them, and what they are in gpubox's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubox.errors import UsageError
from gpubox.providers.base import Alive
from gpubox.providers.ec2 import tags
from gpubox.providers.ec2.kinds import catalogue
from gpubox.providers.ec2.trouble import ApiError

if TYPE_CHECKING:
    from datetime import datetime

    from gpubox.providers.base import Price, State
    from gpubox.providers.ec2.account import Account

# shutting-down: AWS no longer bills the instance, but its disks are not gone yet.
_STATES: dict[str, State] = {
    "pending": "starting",
    "running": "running",
    "stopping": "stopping",
    "stopped": "stopped",
    "shutting-down": "stopping",
    "terminated": "gone",
}
_LIVE = ("pending", "running", "stopping", "stopped", "shutting-down")
_UNKNOWN_IDS = {"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"}


def ref_of(region: str, instance: dict[str, Any]) -> str:
    """How the ledger names it: an instance's id says nothing of its region."""
    return f"{region}/{instance['InstanceId']}"


def parted(ref: str, default_region: str | None) -> tuple[str, str]:
    """(region, instance id) of a ref; one without a region is of the configured one."""
    region, _, instance = ref.rpartition("/")
    if not (region or default_region):
        raise UsageError(f"`{ref}` does not say its region", where="ec2", hint=f"write it as in `us-east-1/{instance}`")
    return region or str(default_region), instance


def state_of(instance: dict[str, Any] | None) -> State:
    """The state of an instance; None is one that AWS does not have (any more)."""
    return "gone" if instance is None else _STATES[instance["State"]["Name"]]


def get(account: Account, region: str, instance_id: str) -> dict[str, Any] | None:
    """The instance, also for an hour after its end; None when AWS does not know it."""
    try:
        answer = account.ask("ec2", region, "describe_instances", InstanceIds=[instance_id])
    except ApiError as error:
        if error.code in _UNKNOWN_IDS:
            return None
        raise
    found = [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]
    return found[0] if found else None


def live(account: Account, region: str, order: str | None = None) -> list[dict[str, Any]]:
    """Every instance of the region that is not terminated; of an order, when one is given."""
    filters = [{"Name": "instance-state-name", "Values": list(_LIVE)}]
    if order is not None:
        filters.append({"Name": f"tag:{tags.ORDER}", "Values": [order]})
    pages = account.all(region, "describe_instances", "Reservations", Filters=filters)
    return [instance for reservation in pages for instance in reservation["Instances"]]


def is_spot(instance: dict[str, Any]) -> bool:
    """Whether AWS may take it away, and nobody can stop it."""
    return instance.get("InstanceLifecycle") == "spot"


def why_ended(instance: dict[str, Any]) -> tuple[str, str]:
    """(code, words) of AWS for an instance that stopped or ended by itself."""
    reason = instance.get("StateReason") or {}
    return reason.get("Code", ""), reason.get("Message") or instance.get(
        "StateTransitionReason"
    ) or "AWS says no reason"


def disk_gib(account: Account, region: str, found: list[dict[str, Any]]) -> dict[str, int]:
    """GiB of all volumes of each instance, by its id."""
    if not found:
        return {}
    filters = [{"Name": "attachment.instance-id", "Values": [instance["InstanceId"] for instance in found]}]
    sizes: dict[str, int] = {}
    for volume in account.all(region, "describe_volumes", "Volumes", Filters=filters):
        for attachment in volume["Attachments"]:
            sizes[attachment["InstanceId"]] = sizes.get(attachment["InstanceId"], 0) + volume["Size"]
    return sizes


def alive(region: str, instance: dict[str, Any], price: Price | None) -> Alive:
    """As `gpubox sweep` shows it."""
    read = tags.read(instance.get("Tags"))
    kind = catalogue().find(instance["InstanceType"])
    return Alive(
        ref=ref_of(region, instance),
        name=read.get(tags.ORDER) or read.get(tags.NAME, ""),
        state=state_of(instance),
        billing=True,  # Stopped ones, too: their disks.
        gpu=kind.gpu if kind else None,
        gpu_count=kind.count if kind else None,
        price=price,
        region=region,
        created_at=_created_at(instance),
    )


def _created_at(instance: dict[str, Any]) -> datetime:
    # AWS's launch time is that of the last start; the root disk is as old as the box.
    disks = [disk["Ebs"]["AttachTime"] for disk in instance.get("BlockDeviceMappings", []) if "Ebs" in disk]
    made: datetime = min([instance["LaunchTime"], *disks])
    return made
