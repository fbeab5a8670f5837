"""What the variables of every role are made with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubox.boxfile import BoxFile

# Providers whose boxes cost money until somebody ends them.
BILLED = ("autodl", "compshare", "ec2")


def section(box: BoxFile, name: str) -> dict[str, object]:
    """A section of the box file as variables of the role of that name; what was left out is left out."""
    found = getattr(box, name)
    if found is None:
        return {}
    fields = found.model_dump(mode="json", exclude_none=True)
    return {f"{name}_{field}": value for field, value in fields.items() if value not in ([], {})}


def secret(name: str, environ: Mapping[str, str]) -> str:
    """The API key that the box file names by its variable. Raises `UsageError` when it is not set."""
    value = environ.get(name, "")
    if not value:
        raise UsageError(
            f"the environment variable `{name}`, which the box file names for the API key, is not set",
            hint=f"export {name}=... in this shell (the key itself never stands in the box file)",
        )
    return value
