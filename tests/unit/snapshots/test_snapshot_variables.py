"""What `web_ui.snapshots` of a box file becomes on the box."""

from __future__ import annotations

import pytest

from gpubox.boxfile import BoxFile
from gpubox.converge.variables.open_webui import variables

AUTODL = "/root/autodl-fs/gpubox-web-ui"


@pytest.mark.parametrize(
    ("provider", "snapshots", "expected"),
    [
        ("attach", None, {}),
        # No disk that outlives the box is known: at home only.
        ("attach", {}, {}),
        ("attach", {"every": "2h", "to": "/mnt/nas/ui"}, {"to": "/mnt/nas/ui", "every": 7200}),
        ("autodl", {}, {"to": AUTODL, "every": 900}),
        ("autodl", {"to": "/root/autodl-fs/mine"}, {"to": "/root/autodl-fs/mine", "every": 900}),
    ],
)
def test_where_and_how_often(provider: str, snapshots: dict[str, str] | None, expected: dict[str, object]) -> None:
    ui = {"engines": [{"url": "http://127.0.0.1:1/v1"}], "snapshots": snapshots}
    box = BoxFile.model_validate({"provider": provider, "engine": "vllm", "model": "small-gpt", "web_ui": ui})
    found = variables(box, None, {}, {})
    prefix = "open_webui_snapshots_"
    assert {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)} == expected
