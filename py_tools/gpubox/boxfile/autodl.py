"""The box file's section for boxes that are rented from AutoDL."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gpubox.boxfile.section import Section

DataCenter = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z]+DC[0-9]+$",
        json_schema_extra={
            "patternErrorMessage": "the name of a data centre, as in westDC3 or beijingDC2",
            "examples": ["westDC3", "beijingDC2"],
        },
    ),
]
ImageId = Annotated[
    str,
    Field(
        pattern=r"^(base-)?image-[a-z0-9]+$",
        json_schema_extra={
            "patternErrorMessage": "the id of an image, as in image-db8346e037 (yours) or base-image-l2t43iu6uk",
            "examples": ["base-image-l2t43iu6uk", "base-image-mbr2n4urrc"],
        },
    ),
]
GpuSpec = Literal["4090D", "5090-p", "pro6000-p", "h800", "v-48g", "v-48g-350w", "v-32g-p"]


class Autodl(Section):
    """What to rent from AutoDL, for `provider: autodl`."""

    # The base image of the API's documentation whose system is named there: Ubuntu 20.04, so glibc 2.31.
    image: ImageId = Field(
        default="base-image-l2t43iu6uk",
        description="Image of the system disk: one that you saved (image-...), or a base image. Default: Ubuntu 20.04.",
    )
    gpu_spec: GpuSpec | None = Field(
        default=None, description="AutoDL's own id of the card; left out: found by `gpu.name`."
    )
    data_centers: tuple[DataCenter, ...] = Field(
        default=(), description="Where the box may be; left out: anywhere, which finds a card most often."
    )
    # Drivers of CUDA 12.0 run every wheel that is built with CUDA 12.
    cuda_v_from: Annotated[int, Field(ge=100, le=999)] = Field(
        default=120, description="Oldest CUDA that the host's driver must know: 120 is 12.0, 128 is 12.8."
    )
    expand_system_disk_gb: Annotated[int, Field(ge=0, le=500)] = Field(
        default=0,
        description="GB to add to the system disk of 30 GB.",
    )
