"""Names of files that Linux, macOS and Windows all take, and that are told apart by none of them only. Pure."""

from __future__ import annotations

import re
import unicodedata

# What Windows refuses in a name, and what no screen shows.
_REFUSED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]+')
# Names of devices there, whatever follows the first dot.
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?")
# A name has 255 bytes at most (ext4, APFS in UTF-16, NTFS); a date, an id and an ending need their share.
LONGEST = 120


def safe(text: str, *, longest: int = LONGEST, otherwise: str = "untitled") -> str:
    """`text` as a part of a file's name: no more than `longest` bytes of UTF-8, never empty. Chinese stays."""
    # macOS keeps composed and decomposed letters apart from Linux otherwise. Controls, and characters that turn the
    # direction of writing, show a name that it is not.
    plain = "".join(
        " " if unicodedata.category(mark) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} else mark
        for mark in unicodedata.normalize("NFC", text)
    )
    plain = re.sub(r"\s+", " ", _REFUSED.sub("-", plain))
    cut = plain.encode()[:longest].decode(errors="ignore")
    # Windows drops dots and blanks at the end; a dot or dash in front hides it, or makes it look like an option.
    cut = cut.strip(" .-")
    if not cut:
        return otherwise
    return f"_{cut}" if _DEVICES.fullmatch(cut) else cut


class Taken:
    """Which names were given out; most people's disks make no difference between `A` and `a`."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def free(self, stem: str, ending: str = "") -> str:
        """`stem` and `ending`, with a number between them when another has that name."""
        name, count = f"{stem}{ending}", 1
        while (key := unicodedata.normalize("NFC", name).casefold()) in self._taken:
            count += 1
            name = f"{stem}-{count}{ending}"
        self._taken.add(key)
        return name
