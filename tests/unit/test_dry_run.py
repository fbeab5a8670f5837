"""`up --dry-run` where there is no box to ask: what can be said then, and what of it stops `up`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from broken_http import ANSWERS, answering
from gpubox import models, ollama_registry
from gpubox.cli.group import gpubox
from gpubox.dry_run import dry_run
from gpubox.errors import AuthFailed, Unreachable, UsageError
from gpubox.ledger import Ledger
from gpubox.models import Forecast
from sim.ollama.registry import registry
from unit.preflight.boxes import facts_of

if TYPE_CHECKING:
    from collections.abc import Callable

GIB = 2**30
VLLM = """provider: {provider}
gpu: {{name: RTX 4090}}
engine: vllm
model: {{source: path, path: /root/autodl-tmp/models/x}}
"""


@pytest.fixture
def box_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes boxes/mybox.yml and works beside it."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> None:
        Path("boxes").mkdir(exist_ok=True)
        Path("boxes/mybox.yml").write_text(text, encoding="utf-8")

    return write


def remembered(**gpu: str) -> dict[str, Any]:
    card = {"count": 1, "name": "NVIDIA GeForce RTX 4090", "gib": 24, "compute_cap": "8.9"}
    case = {"base": "autodl-4090", "facts": {"gpu": gpu} if gpu else {}, "cards": card}
    return facts_of(case).model_dump(mode="json")


def off(**gpu: str) -> None:
    """A box of the ledger that is powered off, and what was seen of it."""
    with Ledger() as ledger:
        ledger.add("mybox", "attach")
        ledger.update("mybox", state="stopped", host="127.0.0.1", port=22, user="root", facts=remembered(**gpu))


def forecasts(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    def forecast(*_: object) -> tuple[Forecast, ...]:
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, int)
        return (Forecast("DeepSeek-R1-GGUF", "modelscope", 9, answer),)

    monkeypatch.setattr(models, "forecast", forecast)


def test_a_box_that_would_be_rented(box_file: Callable[[str], None]) -> None:
    box_file(VLLM.format(provider="autodl").replace("4090", "4090 D") + "max_price: 2.5\n")
    done = CliRunner().invoke(gpubox, ["up", "mybox", "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "a box with 1 x RTX 4090 D would be rented from autodl, for at most 2.5 an hour" in done.stdout
    assert "it bills from then on" in done.stdout
    assert "with driver 580 or newer; an older one gets 0.19.1 (CUDA 12)" in done.stdout
    assert "what is free is known once the box is there" in done.stdout
    with Ledger() as ledger:
        assert ledger.find("mybox") is None


def test_a_box_that_was_not_added(box_file: Callable[[str], None]) -> None:
    box_file(VLLM.format(provider="attach"))
    found = dry_run("mybox")
    assert any("gpubox add mybox" in note for note in found.notes)
    assert not found.findings.blockers
    assert not found.plan.decided


def test_what_is_known_to_fail_before_there_is_a_box(box_file: Callable[[str], None]) -> None:
    box_file(VLLM.format(provider="attach") + 'vllm: {version: "0.25.9"}\n')
    done = CliRunner().invoke(gpubox, ["up", "mybox", "--dry-run", "--json"])
    assert done.exit_code == 1
    answer = json.loads(done.stdout)
    assert [item["fix"] for item in answer["findings"] if item["level"] == "blocker"] == ['`vllm.version: "0.25.1"`']
    assert answer["plan"]["refusals"]


def test_a_box_that_is_off_is_judged_by_what_was_seen(box_file: Callable[[str], None]) -> None:
    box_file(VLLM.format(provider="attach"))
    off(driver="550.54.15")
    found = dry_run("mybox")
    assert found.state == "stopped"
    assert any("powered off" in note for note in found.notes)
    assert [row.value for row in found.plan.rows if row.what == "vLLM"] == ["0.19.1 (CUDA 12.8)"]
    assert found.free == 53000000000


@pytest.mark.parametrize("error", [Unreachable("no route to modelscope.cn"), AuthFailed("the model is gated")])
def test_a_hub_that_does_not_say(
    box_file: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    box_file(VLLM.format(provider="attach"))
    forecasts(monkeypatch, error)
    found = dry_run("mybox")
    assert any("how large the model is could not be found out" in note for note in found.notes)
    assert found.at_least
    assert not found.findings.blockers


def test_a_model_that_is_not_there(box_file: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    box_file(VLLM.format(provider="attach"))
    forecasts(monkeypatch, UsageError("no quantization `Q4_K_X`", hint="`model.quant: Q4_K_M`"))
    assert [(item.check, item.fix) for item in dry_run("mybox").findings.blockers] == [
        ("model", "`model.quant: Q4_K_M`")
    ]


def test_a_folder_of_this_machine(box_file: Callable[[str], None], tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(377 * GIB)
    text = VLLM.format(provider="attach").partition("model:")[0]
    box_file(f"{text}model: {{source: folder, folder: {folder}}}\n")
    off()
    found = dry_run("mybox")
    (model,) = found.models
    assert (model.name, model.source, model.files, model.bytes) == ("m", "this machine", 2, 377 * GIB + 2)
    assert found.at_least
    assert "disk-forecast" in {item.check for item in found.findings.blockers}
    box_file(f"{text}model: {{source: folder, folder: {folder}/nowhere}}\n")
    (blocker,) = (item for item in dry_run("mybox").findings.blockers if item.check == "model")
    assert "there is no directory" in blocker.message


OLLAMA = "provider: attach\ngpu: {name: RTX 4090}\nengine: ollama\nollama: {models: [MODELS]}\n"


def test_what_ollama_pulls(box_file: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    with registry({"library/deepseek-r1:8b": [487, 5 * GIB, 1000], "me/mine:latest": [300, GIB]}) as url:
        monkeypatch.setenv("GPUBOX_OLLAMA_REGISTRY", url)
        box_file(OLLAMA.replace("MODELS", '"deepseek-r1:8b", me/mine'))
        off()
        found = dry_run("mybox")
        assert [(it.name, it.files, it.bytes) for it in found.models] == [
            ("deepseek-r1:8b", 3, 5 * GIB + 1487), ("me/mine", 2, GIB + 300),
        ]  # fmt: skip
        assert found.seconds >= 6 * GIB / 1e7
        assert found.disk_bytes > 6 * GIB
        box_file(OLLAMA.replace("MODELS", '"deepseek-r1:9b"'))
        (blocker,) = (item for item in dry_run("mybox").findings.blockers if item.check == "model")
        assert "has no model `deepseek-r1:9b`" in blocker.message
    found = dry_run("mybox")
    assert any("does not say how large `deepseek-r1:9b` is" in note for note in found.notes)
    assert found.at_least


@pytest.mark.parametrize(
    ("model", "url"),
    [
        ("deepseek-r1:8b", "https://registry.ollama.ai/v2/library/deepseek-r1/manifests/8b"),
        ("me/mine", "https://registry.ollama.ai/v2/me/mine/manifests/latest"),
        ("modelscope.cn/Qwen/Qwen3-8B-GGUF:Q4_K_M", "https://modelscope.cn/v2/Qwen/Qwen3-8B-GGUF/manifests/Q4_K_M"),
        ("localhost:5000/me/mine", "https://localhost:5000/v2/me/mine/manifests/latest"),
    ],
)
def test_where_manifests_are(model: str, url: str) -> None:
    assert ollama_registry.address(model) == url


@pytest.mark.parametrize(("gib", "fits"), [(20, True), (377, False)])
def test_models_and_all_else_against_the_data_disk(
    box_file: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, gib: int, fits: bool
) -> None:
    box_file(VLLM.format(provider="attach"))
    off()
    forecasts(monkeypatch, gib * GIB)
    found = dry_run("mybox")
    assert found.disk_bytes > gib * GIB
    assert found.seconds >= gib * GIB / 1e7
    assert ("disk-forecast" in {item.check for item in found.findings.blockers}) is not fits


@pytest.mark.parametrize("answer", list(ANSWERS))
def test_a_registry_that_breaks_off(answer: str) -> None:
    with answering(ANSWERS[answer]) as url, pytest.raises(Unreachable, match="does not say how large `tiny:1b` is"):
        ollama_registry.size("tiny:1b", {ollama_registry.VARIABLE: url})
