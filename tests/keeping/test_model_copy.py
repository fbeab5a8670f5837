"""A model from a folder of this machine, or from another box: whole or not at all, and no door is left open."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from box.testbox import Proxy
from gpubox import model_copy
from gpubox.boxfile.models import BoxFile, ModelSource
from gpubox.errors import TransferFailed, UsageError
from gpubox.ledger import Ledger
from gpubox.model_copy import Copied
from gpubox.remote.host import Host
from gpubox.remote.login import Login
from keeping.box import ROOT, enroll, fill, kept_box, python

if TYPE_CHECKING:
    from pathlib import Path

    from box.testbox import BoxFactory, TestBox
    from gpubox.model_copy import Tell

MIB = 1 << 20
SOURCE = "/root/autodl-tmp/models/tiny"
TARGET = f"{ROOT}/models/tiny"
BOX = ModelSource(source="box", box="oldbox", path=SOURCE)
_SUMS = "find . -type f ! -name '.gpubox*' -exec sha256sum {} + | sort -k 2"


def _silent(*_: object) -> None:
    """Nobody wants to know."""


@pytest.fixture(scope="module")
def old_box(module_boxes: BoxFactory) -> TestBox:
    """The box that has the model, 24 MiB of it in two big files and a small one."""
    box = kept_box(module_boxes, port=0)
    fill(box, f"{SOURCE}/model-1.safetensors", 12 * MIB)
    fill(box, f"{SOURCE}/deep/er/model 2.safetensors", 12 * MIB + 7)
    box.write(f"{SOURCE}/config.json", "{}")
    box.write(f"{SOURCE}/.git/config", "not part of a model")
    box.write("/root/autodl-tmp/models/secret", "not of the model")
    return box


@pytest.fixture(scope="module")
def new_box(module_boxes: BoxFactory) -> TestBox:
    """A box that reaches the other one's SSH port, as boxes of one data centre do."""
    return kept_box(module_boxes, port=0, network="host")


@pytest.fixture(scope="module")
def lone_box(module_boxes: BoxFactory) -> TestBox:
    """A box that reaches nothing."""
    return kept_box(module_boxes, port=0)


def bring(box: TestBox, model: ModelSource, *, port: int | None = None, tell: Tell = _silent) -> Copied:
    """Onto `box`, which is `newbox` of the ledger, empty before."""
    box.exec(f"rm -rf {ROOT}/models {ROOT}/cache")
    enroll(box, "newbox", port or box.port)
    return again(model, tell)


def again(model: ModelSource, tell: Tell = _silent) -> Copied:
    """Whatever is there already."""
    wanted = BoxFile(provider="attach", model=model)
    with Ledger() as ledger:
        login = Login.of(ledger.get("newbox"))
    with Host(login) as host:
        copied = model_copy.bring(host, wanted, root=ROOT, tell=tell)
    assert copied is not None
    return copied


def sums(box: TestBox, place: str) -> str:
    """SHA-256 and name of each file."""
    return box.exec(f"cd {place} && {_SUMS}").stdout


def keys(box: TestBox) -> str:
    """Who may log in."""
    return box.exec("cat /root/.ssh/authorized_keys").stdout


def test_a_model_goes_from_box_to_box_directly(old_box: TestBox, new_box: TestBox) -> None:
    enroll(old_box, "oldbox", old_box.port)
    before = keys(old_box)
    # As a copy that was killed leaves it.
    stale = b'restrict,command="true" ssh-ed25519 AAAA gpubox-copy-to-newbox\n'
    old_box.exec("cat >> /root/.ssh/authorized_keys", stdin=stale)
    copied = bring(new_box, BOX)
    assert copied == Copied(3, 24 * MIB + 9, 3, 24 * MIB + 9, "directly")
    assert sums(new_box, TARGET).splitlines() == [
        line for line in sums(old_box, SOURCE).splitlines() if "/.git/" not in line
    ]
    # The door is shut again, on both sides.
    assert keys(old_box) == before
    assert new_box.exec(f"ls -A {ROOT}/cache/model_copy | grep -v '\\.py$'").stdout == ""
    assert again(BOX).sent == 0


def test_what_was_fetched_there_is_held_to_the_hubs_word(old_box: TestBox, lone_box: TestBox) -> None:
    """The other box's manifest says the SHA-256; a model that is not whole there is not copied."""
    enroll(old_box, "oldbox", old_box.port)
    small = BOX.model_copy(update={"include": ("config.json",)})
    wanted = json.dumps({"files": [{"path": "config.json", "size": 2, "sha256": "0" * 64}]})
    try:
        old_box.write(f"{SOURCE}/.gpubox-model.json", wanted)
        with pytest.raises(
            TransferFailed, match=r"`config\.json` came twice with another SHA-256 than its source says"
        ):
            bring(lone_box, small)
        old_box.write(f"{SOURCE}/.gpubox-part/plan.json", "{}")
        with pytest.raises(UsageError, match="is still being fetched, or its download was cut off"):
            again(small)
    finally:
        old_box.exec(f"rm -r {SOURCE}/.gpubox-*")


def test_where_the_boxes_do_not_see_each_other_it_goes_through_this_machine(
    old_box: TestBox, lone_box: TestBox
) -> None:
    enroll(old_box, "oldbox", old_box.port)
    before = keys(old_box)
    copied = bring(lone_box, BOX.model_copy(update={"include": ("*.safetensors",)}))
    assert (copied.sent, copied.way) == (2, "through this machine")
    assert sums(lone_box, TARGET).splitlines() == [row for row in sums(old_box, SOURCE).splitlines() if ".safe" in row]
    assert keys(old_box) == before


def test_the_key_of_a_copy_opens_nothing_else(old_box: TestBox, new_box: TestBox) -> None:
    """Every line that is asked with it, while it is valid, is answered from the model's directory or not at all."""
    from gpubox.model_copy.serving import key_line

    made = new_box.exec("rm -f /root/k; ssh-keygen -q -t ed25519 -N '' -f /root/k && cat /root/k.pub").stdout
    line = key_line(made, SOURCE, "gpubox-copy-to-newbox", "209912312359")
    old_box.exec(
        "cp /root/.ssh/authorized_keys /root/saved; cat >> /root/.ssh/authorized_keys", stdin=f"{line}\n".encode()
    )
    try:
        ssh = f"ssh -F none -i /root/k -o StrictHostKeyChecking=no -o BatchMode=yes -p {old_box.port} root@127.0.0.1"
        for asked in ("../secret", "/etc/passwd", "deep/../../secret", "/../secret", "..", "-f /etc/passwd"):
            said = new_box.exec(f"printf 'get 1 99 %s\\n' '{asked}' | {ssh} 2>/dev/null").stdout
            assert said == "gpubox-serve-1\n", asked
        for asked in ("1;id 9", "$(id) 9", "x 9"):
            said = new_box.exec(f"printf 'get %s config.json\\n' '{asked}' | {ssh} 2>/dev/null").stdout
            assert said == "gpubox-serve-1\n", asked
        assert new_box.exec(f"printf 'get 1 2 config.json\\n' | {ssh} cat /etc/passwd 2>/dev/null").stdout.endswith(
            "{}"
        )
    finally:
        old_box.exec("mv /root/saved /root/.ssh/authorized_keys; chmod 600 /root/.ssh/authorized_keys")


class _Cutting:
    """Cuts the line whenever 6 MiB more have arrived."""

    def __init__(self, line: Proxy) -> None:
        self.line, self.cuts = line, 0

    def tell(self, label: str, done: int, total: int) -> None:
        assert done <= total
        if label == "copying tiny" and done > 6 * MIB * (self.cuts + 1) and self.cuts < 3:
            self.cuts += 1
            self.line.cut()


def test_cut_lines_are_gone_on_with(old_box: TestBox, lone_box: TestBox) -> None:
    enroll(old_box, "oldbox", old_box.port)
    with Proxy(lone_box.port) as line:
        cutting = _Cutting(line)
        copied = bring(lone_box, BOX, port=line.port, tell=cutting.tell)
        assert (copied.files, cutting.cuts) == (3, 3)
        assert sums(lone_box, TARGET).splitlines() == [
            row for row in sums(old_box, SOURCE).splitlines() if "/.git/" not in row
        ]


def test_a_folder_goes_up_and_what_left_it_goes(new_box: TestBox, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * (40 * 1024))
    (folder / "sub" / "old.json").write_text("{}")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x").write_text("hidden")
    copied = bring(new_box, ModelSource(source="folder", folder=str(folder)))
    assert copied == Copied(2, 10 * MIB + 2, 2, 10 * MIB + 2, "up")
    wanted = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert wanted in sums(new_box, TARGET)
    assert again(ModelSource(source="folder", folder=str(folder))).sent == 0
    # Killed before it was noted: what is there is recognised.
    new_box.exec(f"rm {TARGET}/.gpubox-copied.json")
    assert again(ModelSource(source="folder", folder=str(folder))).sent == 0
    # A file is changed on the box, one is gone and one has changed here: all three are seen.
    new_box.exec(f"printf rotten >> {TARGET}/model.safetensors")
    (folder / "sub" / "old.json").unlink()
    (folder / "config.json").write_text("{ }")
    assert again(ModelSource(source="folder", folder=str(folder))).sent == 2
    assert wanted in sums(new_box, TARGET)
    assert "old.json" not in sums(new_box, TARGET)


def test_a_full_disk_is_seen_before_a_byte_goes(boxes: BoxFactory, old_box: TestBox, tmp_path: Path) -> None:
    small = kept_box(boxes, port=0, data_size=80 << 20)
    enroll(old_box, "oldbox", old_box.port)
    with pytest.raises(TransferFailed, match=r"MiB free, and the model needs .* MiB are missing"):
        bring(small, BOX)
    assert sums(small, TARGET) == ""


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"source": "folder", "folder": "/nowhere"}, "there is no directory `/nowhere`"),
        ({"source": "box", "box": "oldbox", "path": "/nowhere"}, "there is no directory `/nowhere` on `oldbox`"),
        ({"source": "box", "box": "oldbox", "path": SOURCE, "include": ("*.gguf",)}, "matches `\\*.gguf`"),
        ({"source": "box", "box": "newbox", "path": SOURCE}, "cannot copy from itself"),
        ({"source": "box", "box": "nobody", "path": SOURCE}, "nobody"),
    ],
)
def test_what_is_not_there_is_said(old_box: TestBox, lone_box: TestBox, model: dict[str, object], words: str) -> None:
    enroll(old_box, "oldbox", old_box.port)
    with pytest.raises(UsageError, match=words):
        bring(lone_box, ModelSource.model_validate(model))


def test_rot_at_the_source_is_not_taken_for_the_model(old_box: TestBox, lone_box: TestBox) -> None:
    """A file whose bytes change while its size does not, after its hash was read."""
    enroll(old_box, "oldbox", old_box.port)
    program = f"import os; f = open('{SOURCE}/model-1.safetensors', 'r+b'); f.seek(5 << 20); f.write(os.urandom(9))"
    from gpubox.model_copy import sources

    real = sources.hashes_on_box

    def then_rot(*given: object, **named: object) -> dict[str, str]:
        known = real(*given, **named)  # type: ignore[arg-type]
        python(old_box, program)
        return known

    sources.hashes_on_box = then_rot
    try:
        with pytest.raises(TransferFailed, match=r"`model-1.safetensors` came twice with another SHA-256"):
            bring(lone_box, BOX)
    finally:
        sources.hashes_on_box = real
    assert "model-1" not in sums(lone_box, TARGET)
