"""What the simulated CompShare rents: zones, cards, sizes, images and prices. Prices in yuan."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

# Region and zone. The second one knows no Dynamic payment, and its list of images takes no `Limit`.
ZONES = (("cn-wlcb", "cn-wlcb-01"), ("cn-sh2", "cn-sh2-01"))
PICKY_ZONE = "cn-sh2-01"
CHARGES = {
    "Postpay": Decimal(1),
    "Dynamic": Decimal(1),
    "Spot": Decimal("0.6"),
    "Day": Decimal(22),
    "Month": Decimal(600),
}
HOURS = {"Postpay": 1, "Dynamic": 1, "Spot": 1, "Day": 24, "Month": 720}
WITHOUT_GPU = Decimal("0.15")
FREE_DISK = 100
DISK = Decimal("0.0005")  # of a GB for an hour
_RAM = Decimal("0.005")  # of a GiB above the smallest size, for an hour


@dataclass(frozen=True, slots=True)
class Card:
    """One kind in one zone: `price` per hour of the smallest box with one card; sizes are GPUs, vCPUs, GiB."""

    price: Decimal
    vram: int
    sizes: tuple[tuple[int, int, int], ...]
    without_gpu: bool = True


_SIZES = ((1, 8, 32), (1, 16, 64), (2, 32, 128), (4, 64, 256), (8, 124, 480))
CARDS = {
    ("cn-wlcb-01", "4090"): Card(Decimal("1.66"), 24, _SIZES),
    ("cn-wlcb-01", "4090_48G"): Card(Decimal("3.3"), 48, _SIZES),
    ("cn-wlcb-01", "3080Ti"): Card(Decimal("0.74"), 12, ((1, 12, 31),), without_gpu=False),
    ("cn-sh2-01", "4090"): Card(Decimal("1.88"), 24, _SIZES[1:3]),
    ("cn-sh2-01", "5090"): Card(Decimal("3.16"), 32, ((1, 14, 48), (2, 28, 96))),
}
IMAGES: tuple[dict[str, object], ...] = (
    {
        "CompShareImageId": "compshareImage-torch", "Name": "cuda128_torch291_py312", "Status": "Available",
        "Container": "True", "ImageType": "System", "Price": 0, "Size": 51200,
        "Softwares": {"Framework": "PyTorch", "CUDAVersion": "12.8", "OsVersion": "Ubuntu 22.04"},
        "SupportedGpuTypes": ["3080Ti", "4090", "4090_48G", "5090"],
    },
    {
        "CompShareImageId": "compshareImage-cuda", "Name": "cuda130_python312", "Status": "Available",
        "Container": "True", "ImageType": "System", "Price": 0, "Size": 30720,
        "Softwares": {"CUDAVersion": "13.0", "OsVersion": "Ubuntu 22.04"},
        "SupportedGpuTypes": ["4090", "4090_48G", "5090"],
    },
    {
        "CompShareImageId": "compshareImage-vm", "Name": "Ubuntu-nvidia 22.04", "Status": "Available",
        "Container": "False", "ImageType": "System", "Price": 0, "Size": 40960, "Softwares": None,
    },
    {
        "CompShareImageId": "compshareImage-paid", "Name": "Ubuntu 22.04 with an application", "Status": "Available",
        "Container": "True", "ImageType": "App", "Price": 0.5, "Size": 20480,
        "Softwares": {"OsVersion": "Ubuntu 22.04"},
    },
)  # fmt: skip


def image(identity: str) -> dict[str, object] | None:
    """One of them."""
    return next((one for one in IMAGES if one["CompShareImageId"] == identity), None)


def instance_price(zone: str, gpu: str, size: tuple[int, int, int], charge: str) -> Decimal:
    """Of one period (hour, day, month) of a box without its disks. Raises `KeyError` for what is not rented."""
    card = CARDS[zone, gpu]
    smallest = card.sizes[0]
    hour = card.price * size[0] + _RAM * max(0, size[2] - smallest[2] * size[0])
    return (hour * CHARGES[charge]).quantize(Decimal("0.0001"))


def disk_price(size: int, charge: str) -> Decimal:
    """Of one period of a system disk of so many GB."""
    return max(0, size - FREE_DISK) * DISK * HOURS[charge]
