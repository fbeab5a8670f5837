"""The box file's section for boxes that are rented from Amazon EC2."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gpubox.boxfile.kinds import Port  # noqa: TC001 -- pydantic evaluates annotations
from gpubox.boxfile.section import Section


def _is_network(value: str) -> str:
    ip_network(value)  # A ValueError is what pydantic wants.
    return value


Region = Annotated[
    str,
    Field(
        pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]+$",
        json_schema_extra={"patternErrorMessage": "an AWS region, as in us-east-1", "examples": ["us-east-1"]},
    ),
]
InstanceType = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$",
        json_schema_extra={"patternErrorMessage": "an EC2 instance type, as in g5.xlarge", "examples": ["g6e.xlarge"]},
    ),
]
ImageId = Annotated[
    str,
    Field(
        pattern=r"^ami-[0-9a-f]{8,17}$",
        json_schema_extra={"patternErrorMessage": "the id of an image (AMI), as in ami-0123456789abcdef0"},
    ),
]
SubnetId = Annotated[
    str,
    Field(
        pattern=r"^subnet-[0-9a-f]{8,17}$",
        json_schema_extra={"patternErrorMessage": "the id of a subnet, as in subnet-0123456789abcdef0"},
    ),
]
UserName = Annotated[
    str,
    Field(
        pattern=r"^[a-z_][a-z0-9_-]{0,31}$",
        json_schema_extra={"patternErrorMessage": "the name of a user on the box, as in ubuntu"},
    ),
]
Network = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$",
        json_schema_extra={
            "patternErrorMessage": "a network, as in 203.0.113.7/32 or 203.0.113.0/24",
            "examples": ["203.0.113.7/32", "198.51.100.0/24"],
        },
    ),
    AfterValidator(_is_network),
]


class Ec2(Section):
    """What to rent from Amazon EC2, for `provider: ec2`."""

    region: Region | None = Field(
        default=None,
        description="AWS region; left out: the one of AWS's own configuration (AWS_REGION, ~/.aws/config).",
    )
    instance_type: InstanceType | None = Field(
        default=None, description="Kind of instance; left out: the smallest with the cards of `gpu`."
    )
    image: ImageId | None = Field(
        default=None, description="Image (AMI), x86_64; left out: AWS's newest Deep Learning base image of Ubuntu."
    )
    user: UserName | None = Field(
        default=None, description="User to log in as; left out: `ubuntu`, or `ec2-user` for images of Amazon Linux."
    )
    disk_gib: Annotated[int, Field(ge=30, le=16384)] = Field(
        default=200, description="Size of the box's only disk (EBS gp3), in GiB; billed while the box is off, too."
    )
    spot: bool = Field(
        default=False,
        description="true: cheaper, and AWS may take the box with its disk at two minutes' notice; cannot be stopped.",
    )
    on_shutdown: Literal["stop", "terminate"] | None = Field(
        default=None,
        description="What a shutdown inside the box does. stop (default): its disk stays and is billed. "
        "terminate (always so for spot): the box ends with its disk.",
    )
    ssh_from: tuple[Network, ...] = Field(
        default=(), description="Networks that may reach the box's SSH; left out: this machine's public address only."
    )
    ssh_port: Port = Field(default=22, description="Port of the image's SSH server.")
    subnet: SubnetId | None = Field(default=None, description="Subnet; left out: one of the region's default network.")

    @property
    def ends_when_off(self) -> bool:
        """Whether the box and its disk end when the box is shut down from inside."""
        return self.spot or self.on_shutdown == "terminate"
