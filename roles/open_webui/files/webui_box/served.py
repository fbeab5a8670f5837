"""The service as the role has set it up: where its things lie, which open-webui it starts, on which port."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from webui_box.errors import Trouble


@dataclass(frozen=True)
class Served:
    """`root`: gpubox's. `email`: the admin's, as the role knows it."""

    root: Path
    service: str
    place: Path
    command: Path
    port: int
    email: str

    @classmethod
    def read(cls, root: Path, service: str) -> Served:
        """From what boxctl starts. Raises `Trouble`."""
        file = root / "services" / service / "service.json"
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            words = values["argv"]
            behind = words.index("--")
            return cls(
                root=root,
                service=service,
                place=Path(words[behind - 1]),
                command=Path(words[behind + 1]),
                port=int(words[words.index("--port") + 1]),
                email=str(values["env"]["WEBUI_ADMIN_EMAIL"]),
            )
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise Trouble(f"`{file}` cannot be read: {error}") from None
