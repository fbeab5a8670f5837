"""The web UI's fields of a box file, and those of its agents."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from gpubox.boxfile.kinds import (  # noqa: TC001 -- pydantic evaluates annotations
    BoxPath,
    Duration,
    Email,
    Port,
    SecretName,
    Text,
    Url,
    VariableName,
)
from gpubox.boxfile.section import Section

__all__ = ["ADMIN_EMAIL", "LOCAL_PORTS", "Agent", "ApiEngine", "Snapshots", "WebUi", "agent_id"]

# As in the role's defaults.
ADMIN_EMAIL = "admin@gpubox.local"
# How many ports of this machine a tunnel to the web UI may choose from: an answer reaches a page at these only.
LOCAL_PORTS = 20


class ApiEngine(Section):
    """One more engine for the web UI: an OpenAI API that the machine of the web UI reaches."""

    url: Url = Field(
        description="Its base URL as the web UI reaches it, most of the time with /v1 at its end.",
        examples=["http://127.0.0.1:8001/v1"],
    )
    api_key: SecretName | None = Field(
        default=None, description="Name of the environment variable, here, that holds its API key."
    )


class Snapshots(Section):
    """Copies of the chats: to this machine while a tunnel is open, else to a disk of the box that outlives it."""

    every: Duration = Field(default="15m", description="Time between two copies.")
    to: BoxPath | None = Field(
        default=None,
        description=(
            "Directory on a disk of the box that outlives it, used while no tunnel is open; left out: AutoDL's "
            "/root/autodl-fs/gpubox-web-ui, elsewhere none."
        ),
        examples=["/root/autodl-fs/web-ui"],
    )


class WebUi(Section):
    """The web UI, and where it runs."""

    on: Literal["box", "laptop"] = Field(
        default="box", description="laptop: accounts and chats stay on this machine, whatever becomes of the box."
    )
    port: Port = Field(
        default=3000, description="Port on 127.0.0.1 where it runs, and of its tunnel; one of the next 19 where taken."
    )
    admin_email: Email = Field(default=ADMIN_EMAIL, description="How the first user signs in, who is the admin.")
    engines: tuple[ApiEngine, ...] = Field(
        default=(), description="Further OpenAI APIs whose models are listed beside those of the box's engine."
    )
    snapshots: Snapshots | None = Field(default=None, description="Copies of the chats while the box runs.")

    @property
    def local_ports(self) -> range:
        """Ports of this machine that a tunnel to the web UI may have, the best first."""
        return range(self.port, min(self.port + LOCAL_PORTS, 65536))


class Agent(Section):
    """A model with a system prompt and parameters, to be chosen in the web UI under a name of its own."""

    name: Text = Field(description="Its name in the web UI.", examples=["诗人"])
    system_prompt: Text | None = Field(default=None, description="What it is told before every chat.")
    base_model: Text | None = Field(
        default=None, description="Name of the model behind it; left out: the one that the box's engine serves."
    )
    parameters: dict[VariableName, bool | int | float | str | tuple[str, ...]] = Field(
        default={},
        description="Parameters of its answers, as open-webui names them.",
        examples=[{"temperature": 0.2, "max_tokens": 512}],
    )


def agent_id(name: str) -> str:
    """The id of the agent of this name in the web UI: as `webui_box.agents` makes it."""
    return re.sub(r"\s+", "-", name.strip().lower())
