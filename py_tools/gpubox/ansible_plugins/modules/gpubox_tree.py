#!/usr/bin/python
"""Ansible module: a tree of directories, files and links in one call."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: gpubox_tree
short_description: Make a tree of directories, files and links in one call
description:
  - Does the file work of a whole role in one process on the target; one task per file costs a fifth of a second each.
  - Files are written beside their place and renamed, so that no reader ever sees half a file.
  - Works in the order absent, directories, files, links.
options:
  directories:
    description: Directories to have. Missing parents are made.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      mode: {description: Quoted octal mode., type: str, default: "0755"}
  files:
    description: Files to have, with their whole content.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      content: {description: The whole text of the file., type: str, required: true}
      mode: {description: Quoted octal mode., type: str, default: "0644"}
      sensitive: {description: Leaves the content out of the diff., type: bool, default: false}
  links:
    description: Symbolic links to have.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path of the link., type: path, required: true}
      target: {description: What it points to., type: str, required: true}
  absent:
    description: Paths that shall not exist; a directory goes with all that is in it, a link goes without its target.
    type: list
    elements: path
    default: []
author: gpubox developers
attributes:
  check_mode: {support: full, description: Says what would change and changes nothing.}
  diff_mode: {support: full, description: Shows each path that changes.}
"""

EXAMPLES = r"""
- name: Make the directories and the environment file
  gpubox_tree:
    directories:
      - {path: /data/gpubox/logs, mode: "0755"}
    files:
      - {path: /data/gpubox/env.sh, content: "export HF_HOME=/data/gpubox/cache\n", mode: "0644"}
    absent: [/data/gpubox/old]
"""

RETURN = r"""
paths:
  description: The paths that changed (in check mode, would change), in the order of the work.
  returned: always
  type: list
  elements: str
"""

ITEM = {"path": {"type": "path", "required": True}}
ARGUMENTS = {
    "directories": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {**ITEM, "mode": {"type": "str", "default": "0755"}},
    },
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            **ITEM,
            "content": {"type": "str", "required": True},
            "mode": {"type": "str", "default": "0644"},
            "sensitive": {"type": "bool", "default": False},
        },
    },
    "links": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {**ITEM, "target": {"type": "str", "required": True}},
    },
    "absent": {"type": "list", "elements": "path", "default": []},
}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    tree = Tree(check=module.check_mode)
    try:
        _work(tree, module.params)
    except OSError as error:
        place = error.filename2 or error.filename or "the tree"
        message = f"cannot change `{place}`: {error.strerror or error}{_mend(error)}"
        module.fail_json(msg=message, paths=tree.paths, changed=bool(tree.paths))
    except ValueError as error:
        module.fail_json(msg=str(error), paths=tree.paths, changed=bool(tree.paths))
    module.exit_json(changed=bool(tree.paths), paths=tree.paths, diff=tree.diff)


class Tree:
    """What is done to the file system, and what it looked like before."""

    def __init__(self, *, check: bool) -> None:
        self.paths: list[str] = []
        self.diff: list[dict[str, str]] = []
        self._check = check

    def absent(self, path: Path) -> None:
        """Remove the path, whatever it is."""
        if path.resolve() == Path("/"):
            raise ValueError("refusing to remove `/`")
        if not _exists(path):
            return
        self._note(path, f"{_kind(path)}\n", "absent\n")
        if self._check:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def directory(self, path: Path, mode: int) -> None:
        """Have a directory of this mode."""
        if _exists(path) and not path.is_dir():
            raise ValueError(f"`{path}` is a {_kind(path)}, a directory is wanted; move it away")
        before = _mode(path)
        if before == mode:
            return
        self._note(path, _state("directory", before), _state("directory", mode))
        if not self._check:
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)

    def file(self, path: Path, content: str, mode: int, *, sensitive: bool) -> None:
        """Have a file of this content and mode."""
        if _exists(path) and (path.is_symlink() or not path.is_file()):
            raise ValueError(f"`{path}` is a {_kind(path)}, a file is wanted; move it away")
        old = path.read_bytes() if path.exists() else None
        new = content.encode()
        if old == new and _mode(path) == mode:
            return
        if old == new or sensitive:
            self._note(path, _state("file", _mode(path)), _state("file", mode))
        else:
            self._note(path, (old or b"").decode("utf-8", "replace"), content)
        if self._check:
            return
        if old == new:
            path.chmod(mode)
        else:
            _write(path, new, mode)

    def link(self, path: Path, target: str) -> None:
        """Have a symbolic link to the target."""
        if _exists(path) and not path.is_symlink():
            raise ValueError(f"`{path}` is a {_kind(path)}, a link is wanted; move it away")
        before = os.readlink(path) if path.is_symlink() else None  # noqa: PTH115  (Path.readlink came with 3.9)
        if before == target:
            return
        self._note(path, f"link to {before}\n" if before else "absent\n", f"link to {target}\n")
        if self._check:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".gpubox-{os.getpid()}")
        beside.symlink_to(target)
        beside.replace(path)

    def _note(self, path: Path, before: str, after: str) -> None:
        self.paths.append(str(path))
        self.diff.append({"before_header": str(path), "after_header": str(path), "before": before, "after": after})


def _work(tree: Tree, wanted: dict[str, Any]) -> None:
    for path in wanted["absent"]:
        tree.absent(_absolute(path))
    for item in wanted["directories"]:
        tree.directory(_absolute(item["path"]), _octal(item["mode"]))
    for item in wanted["files"]:
        tree.file(_absolute(item["path"]), item["content"], _octal(item["mode"]), sensitive=item["sensitive"])
    for item in wanted["links"]:
        tree.link(_absolute(item["path"]), item["target"])


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=".gpubox-", dir=str(path.parent))
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(beside).chmod(mode)
        Path(beside).replace(path)
    except OSError:
        Path(beside).unlink()
        raise


def _exists(path: Path) -> bool:
    """Also true for a link that points nowhere."""
    return path.is_symlink() or path.exists()


def _mode(path: Path) -> int | None:
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


def _octal(mode: str) -> int:
    try:
        return int(mode, 8)
    except ValueError:
        raise ValueError(f'`{mode}` is no octal mode; write it quoted, as "0755"') from None


def _absolute(path: str) -> Path:
    if not Path(path).is_absolute():
        raise ValueError(f"`{path}` is no absolute path")
    return Path(path)


def _kind(path: Path) -> str:
    if path.is_symlink():
        return "link"
    if path.is_dir():
        return "directory"
    return "file" if path.is_file() else "special file"


def _state(kind: str, mode: int | None) -> str:
    return "absent\n" if mode is None else f"{kind} {mode:04o}\n"


def _mend(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "; free space there, or set `data_dir` in the box file to a larger disk"
    if error.errno == errno.EROFS:
        return "; set `data_dir` in the box file to a disk that can be written"
    return ""


if __name__ == "__main__":
    main()
