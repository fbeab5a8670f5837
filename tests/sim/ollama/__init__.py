"""A simulated Ollama: the program (`program.py`), its releases (`releases.py`), and archives that hold it."""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
_BLOCK = 1 << 17


def archive(kind: str = "zst") -> bytes:
    """`ollama-linux-<arch>.tar.zst` (or `tgz`): the simulated program as bin/ollama, and a link as real ones have."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz" if kind == "tgz" else "w") as tar:
        program = tarfile.TarInfo("bin/ollama")
        text = (HERE / "program.py").read_bytes()
        program.size, program.mode = len(text), 0o755
        tar.addfile(program, io.BytesIO(text))
        library = tarfile.TarInfo("lib/ollama/libggml-base.so")
        library.type, library.linkname = tarfile.SYMTYPE, "libggml-base.so.0"
        tar.addfile(library)
    return packed.getvalue() if kind == "tgz" else zstd(packed.getvalue())


def zstd(data: bytes) -> bytes:
    """A frame of raw blocks (RFC 8878): zstd's format without its compression."""
    blocks = [data[start : start + _BLOCK] for start in range(0, len(data), _BLOCK)] or [b""]
    frame = struct.pack("<IBB", 0xFD2FB528, 0x00, 0x38)
    for number, block in enumerate(blocks):
        header = (len(block) << 3) | (number == len(blocks) - 1)
        frame += header.to_bytes(3, "little") + block
    return frame


def release(directory: Path, version: str, *, arches: tuple[str, ...] = ("amd64", "arm64"), kind: str = "zst") -> Path:
    """Write the files of one release below `directory/v<version>`, its sha256sum.txt, too."""
    place = directory / f"v{version}"
    place.mkdir(parents=True)
    lines = []
    for arch in arches:
        name = f"ollama-linux-{arch}.{'tgz' if kind == 'tgz' else 'tar.zst'}"
        data = archive(kind)
        (place / name).write_bytes(data)
        lines.append(f"{hashlib.sha256(data).hexdigest()}  ./{name}\n")
    (place / "sha256sum.txt").write_text("".join(lines))
    return place
