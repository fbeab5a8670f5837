"""Which image a box starts from, and who logs in to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubox.errors import Failed, UsageError
from gpubox.providers.ec2.trouble import ApiError, NotAllowed

if TYPE_CHECKING:
    from gpubox.boxfile.models import Ec2
    from gpubox.providers.ec2.account import Account

# AWS's own, with NVIDIA's driver and no frameworks, the preferred first: https://docs.aws.amazon.com/dlami/
_PARAMETER = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-{}/latest/ami-id"
_NAME = "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu {}) *"
_UBUNTU = ("24.04", "22.04")


@dataclass(frozen=True, slots=True)
class Image:
    """`disks`: the devices of its volumes, the root's first."""

    id: str
    user: str
    disks: tuple[str, ...]


def find(account: Account, region: str, wanted: Ec2) -> Image:
    """The image that the box file names, else AWS's newest Deep Learning base image.

    Raises `UsageError` for one of another architecture, `Failed` when there is none.
    """
    found = _described(account, region, wanted.image) if wanted.image else _deep_learning(account, region)
    if found["Architecture"] != "x86_64":
        raise UsageError(
            f"the image {found['ImageId']} is for {found['Architecture']}; gpubox's instance types are x86_64",
            where="ec2.image",
            hint="leave `ec2.image` out, or take an x86_64 image",
        )
    root = found["RootDeviceName"]
    others = [disk["DeviceName"] for disk in found.get("BlockDeviceMappings", []) if "Ebs" in disk]
    disks = (root, *(name for name in others if name != root))
    return Image(found["ImageId"], wanted.user or user_of(found.get("Name") or ""), disks)


def user_of(image_name: str) -> str:
    """Who logs in: `ec2-user` on Amazon Linux, Red Hat and SUSE, `admin` on Debian, else `ubuntu`."""
    plain = image_name.lower()
    if "ubuntu" in plain:
        return "ubuntu"
    if plain.startswith("debian"):
        return "admin"
    if any(word in plain for word in ("amazon linux", "al2023", "amzn", "rhel", "suse")):
        return "ec2-user"
    return "ubuntu"


def _deep_learning(account: Account, region: str) -> dict[str, Any]:
    for version in _UBUNTU:
        if (image := _parameter(account, region, _PARAMETER.format(version))) is not None:
            return _described(account, region, image)
    for version in _UBUNTU:
        filters = [
            {"Name": "name", "Values": [_NAME.format(version)]},
            {"Name": "architecture", "Values": ["x86_64"]},
            {"Name": "state", "Values": ["available"]},
        ]
        images = account.ask("ec2", region, "describe_images", Owners=["amazon"], Filters=filters)["Images"]
        if images:
            newest: dict[str, Any] = max(images, key=lambda image: image["CreationDate"])
            return newest
    raise Failed(
        f"AWS has no Deep Learning base image in {region}",
        where="ec2.image",
        hint="name an image with NVIDIA's driver: `ec2: {image: ami-...}`, or take another region",
    )


def _parameter(account: Account, region: str, name: str) -> str | None:
    """What AWS publishes under that name; None when it does not, or when the user may not look."""
    try:
        answer = account.ask("ssm", region, "get_parameter", Name=name)
    except (ApiError, NotAllowed):
        # Not published here, or no permission `ssm:GetParameter`: images can be found by their names as well.
        return None
    value: str = answer["Parameter"]["Value"]
    return value


def _described(account: Account, region: str, image: str) -> dict[str, Any]:
    images = account.ask("ec2", region, "describe_images", ImageIds=[image])["Images"]
    if not images:
        raise Failed(
            f"there is no image {image} in {region}",
            where="ec2.image",
            hint="images belong to a region; leave `ec2.image` out, or take one of this region",
        )
    found: dict[str, Any] = images[0]
    return found
