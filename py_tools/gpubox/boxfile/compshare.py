"""The box file's section for boxes that are rented from CompShare."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gpubox.boxfile.kinds import Positive, Text  # noqa: TC001 -- pydantic evaluates annotations
from gpubox.boxfile.section import Section

Zone = Annotated[
    str,
    Field(
        pattern=r"^[a-z]+-[a-z0-9]+-[0-9]+$",
        json_schema_extra={
            "patternErrorMessage": "a zone as CompShare writes it, as in cn-wlcb-01",
            "examples": ["cn-wlcb-01", "cn-sh2-02"],
        },
    ),
]


class Compshare(Section):
    """What to rent from CompShare, for `provider: compshare`."""

    zone: Zone | None = Field(default=None, description="Zone; left out: the cheapest that has such a box in stock.")
    image: Text | None = Field(
        default=None,
        description="Id of the image (compshareImage-...); left out: the smallest free one with Ubuntu for the card.",
    )
    charge: Literal["Postpay", "Dynamic", "Day", "Month"] = Field(
        default="Postpay",
        description="How it is paid. Postpay: by the second, afterwards, and nothing for a powered-off GPU. "
        "Dynamic, Day, Month: in advance, powered on or off, and renewed by itself.",
    )
    cpus: Positive | None = Field(default=None, description="vCPUs of the box at least; left out: the smallest box.")
    ram_gib: Positive | None = Field(default=None, description="Main memory at least, GiB; left out: the smallest box.")
    cpu_platform: Literal["Auto", "Intel/Auto", "Amd/Auto"] = Field(
        default="Auto", description="Maker of the CPU; KTransformers' AMX kernels need Intel/Auto."
    )
    system_disk_gb: Annotated[int, Field(ge=40, le=1000)] = Field(
        default=100, description="System disk, the only disk of the box; 100 GB are free."
    )
    disk_type: Literal["CLOUD_SSD", "CLOUD_RSSD"] = Field(
        default="CLOUD_SSD", description="Kind of the system disk; CLOUD_RSSD is for A800 only."
    )
    firewall: Text | None = Field(
        default=None,
        description="Id of a firewall (firewall-...); left out: CompShare makes one for the image.",
    )
