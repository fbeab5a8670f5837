"""Box files that are right, and files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from gpubox.boxfile import BoxFile, ModelSource, WebUi, load
from gpubox.errors import BoxFileError


@pytest.fixture
def box_file(tmp_path: Path) -> Path:
    return tmp_path / "demo.yml"


def test_what_is_left_out_is_none_so_that_role_defaults_hold(box_file: Path) -> None:
    box_file.write_text("provider: attach\nengine: vllm\nmodel: small-gpt\n")
    box = load(box_file)
    assert box.vllm is not None
    assert box.small_gpt is not None
    given = {"build": "auto", "port": 8000, "lora_modules": {}, "extra_args": (), "env": {}}
    assert box.vllm.model_dump(exclude_none=True) == given
    assert box.small_gpt.model_dump(exclude_none=True) == {}
    assert box.python_env.model_dump(exclude_none=True) == {"extra_index_urls": (), "find_links": ()}
    assert (box.count, box.gpu, box.data_dir, box.ktransformers, box.guard) == (1, None, None, None, None)
    assert box.engine_port == 8000


def test_a_field_with_nothing_after_its_colon_is_as_if_left_out(box_file: Path) -> None:
    box_file.write_text(
        "provider: attach\nengine: vllm\nmodel: small-gpt\nvllm:\n  port:\npython_env:\ngpu:\ncount: ~\n"
    )
    blank = load(box_file)
    box_file.write_text("provider: attach\nengine: vllm\nmodel: small-gpt\n")
    assert blank == load(box_file)


def test_a_full_file_is_read_as_written(box_file: Path) -> None:
    box_file.write_text(
        """
provider: attach
gpu: {name: RTX 4090, count: 2}
data_dir: /root/autodl-tmp
engine: vllm
model: &model {source: modelscope, id: Qwen/Qwen3-8B, include: ['*.json', '*.safetensors']}
vllm:
  tensor_parallel_size: 2
  gpu_memory_utilization: 1
  extra_args: [--max-num-batched-tokens, 8192, --seed=0]
  env: {NCCL_P2P_DISABLE: 1, VLLM_LOGGING_LEVEL: "INFO"}
  api_key: GPUBOX_API_KEY
web_ui: {on: laptop, port: 3001}
keep: [results/**]
tunnels: [{remote: 6006}, {remote: 6007, local: 7007}]
"""
    )
    box = load(box_file)
    assert isinstance(box.model, ModelSource)
    assert box.model.include == ("*.json", "*.safetensors")
    assert box.vllm is not None
    assert box.vllm.extra_args == ("--max-num-batched-tokens", "8192", "--seed=0")
    assert box.vllm.env == {"NCCL_P2P_DISABLE": "1", "VLLM_LOGGING_LEVEL": "INFO"}
    assert box.vllm.gpu_memory_utilization == 1.0
    assert box.web_ui_settings == WebUi(on="laptop", port=3001)
    assert [(tunnel.remote, tunnel.local) for tunnel in box.tunnels] == [(6006, None), (6007, 7007)]


def test_words_are_read_as_in_yaml_1_2(box_file: Path) -> None:
    box_file.write_text(
        "provider: local\nfinetune: {recipe: on}\nguard: {ttl: 30m, budget: 1.5e1, price_per_hour: 2}\nweb_ui: True\n"
    )
    box = load(box_file)
    assert box.finetune is not None
    assert box.finetune.recipe == "on"
    assert box.guard is not None
    assert box.guard.budget == 15.0
    assert box.web_ui_settings == WebUi()


def test_a_box_file_is_never_changed_after_reading() -> None:
    box = BoxFile(provider="attach")
    with pytest.raises(ValidationError, match="frozen"):
        box.count = 2


def test_windows_line_ends_and_a_byte_order_mark_are_fine(box_file: Path) -> None:
    box_file.write_bytes(b"\xef\xbb\xbfprovider: attach\r\nengine: vllm\r\nmodel: small-gpt\r\n")
    assert load(box_file).engine == "vllm"


def test_a_file_in_gbk_is_told_with_the_command_that_converts_it(box_file: Path) -> None:
    box_file.write_bytes("provider: attach\n# 显卡\n".encode("gbk"))
    with pytest.raises(BoxFileError, match="not UTF-8") as caught:
        load(box_file)
    assert str(caught.value.where).endswith("demo.yml:2")
    assert "iconv -f GBK" in str(caught.value.hint)


def test_a_missing_file_names_the_nearest_one_and_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("boxes").mkdir()
    Path("boxes/demo.yml").write_text("provider: local\n")
    Path("boxes/other.yml").write_text("provider: local\n")
    with pytest.raises(BoxFileError) as caught:
        load(Path("boxes/dmeo.yml"))
    assert caught.value.message == "there is no box file `boxes/dmeo.yml`; did you mean `demo`?"
    assert caught.value.hint == "gpubox init dmeo"
    with pytest.raises(BoxFileError, match="there are: demo, other"):
        load(Path("boxes/zzz.yml"))
    with pytest.raises(BoxFileError, match=r"there is no box file `nowhere/zzz.yml`$"):
        load(Path("nowhere/zzz.yml"))


def test_a_directory_is_no_box_file(tmp_path: Path) -> None:
    with pytest.raises(BoxFileError, match="this is a directory"):
        load(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_told(box_file: Path) -> None:
    box_file.write_text("provider: attach\n")
    box_file.chmod(0)
    with pytest.raises(BoxFileError, match="Permission denied"):
        load(box_file)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("provider: " + "[" * 5000, id="nested-without-end"),
        pytest.param("provider: attach\ncount: " + "9" * 6000, id="endless-number"),
        pytest.param("provider: attach\nguard: {budget: 1e99999}", id="infinite"),
        pytest.param("provider: attach\n? [a, b]\n: c", id="list-as-a-name"),
        pytest.param("provider: attach\n<<: {count: 2}", id="merge-key"),
        pytest.param("%YAML 9.9\n---\nprovider: attach", id="yaml-of-the-future"),
    ],
)
def test_odd_yaml_is_refused_in_words(text: str, box_file: Path) -> None:
    box_file.write_text(text)
    with pytest.raises(BoxFileError, match=r"demo\.yml:\d+"):
        load(box_file)
