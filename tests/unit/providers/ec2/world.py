"""What the tests of EC2 share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gpubox.boxfile.models import BoxFile
from gpubox.ledger import BoxRecord

ORDER = "gpubox-mine-0badcafe"


def box(*, gpu: str | None = "A10G", count: int = 1, max_price: float | None = None, **section: object) -> BoxFile:
    card = {"gpu": {"name": gpu, "count": count}} if gpu else {}
    return BoxFile.model_validate({"provider": "ec2", "ec2": section, "max_price": max_price, **card})


def record(ref: str | None, name: str = "mine", **fields: object) -> BoxRecord:
    now = datetime.now(UTC)
    values = {"name": name, "provider": "ec2", "provider_ref": ref, "order": ORDER, "created_at": now}
    return BoxRecord.model_validate({**values, "updated_at": now, **fields})


def quiet(_words: str) -> None:
    pass


def networks(group: dict[str, Any]) -> set[tuple[str, int, int, str]]:
    """(protocol, first port, last port, network) of everything that may come in."""
    return {
        (rule["IpProtocol"], rule.get("FromPort", -1), rule.get("ToPort", -1), source)
        for rule in group["IpPermissions"]
        for source in [
            *(one["CidrIp"] for one in rule["IpRanges"]),
            *(one["CidrIpv6"] for one in rule["Ipv6Ranges"]),
            *(one["GroupId"] for one in rule["UserIdGroupPairs"]),
        ]
    }
