"""Hugging Face's side of the hub, as huggingface_hub 2.4.0 and curl see it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sim.hub.content import git_id, in_lfs
from sim.hub.web import Answer, Part, content

if TYPE_CHECKING:
    from sim.hub.content import Blob, Commit, Repo
    from sim.hub.web import Asked, Hub

_ABOUT = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(?:/revision/(?P<revision>[^/]+))?")
_TREE = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(?:/(?P<root>.+))?")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


def answer(asked: Asked, hub: Hub) -> Answer | None:
    """None: the page is not Hugging Face's."""
    for pattern, page in ((_ABOUT, _about), (_TREE, _tree), (_FILE, _file)):
        if found := pattern.fullmatch(asked.path):
            return page(asked, hub, found)
    return None


def _about(asked: Asked, hub: Hub, found: re.Match[str]) -> Answer:
    commit = _commit(asked, hub, found)
    if isinstance(commit, Answer):
        return commit
    with_blobs = asked.query.get("blobs", "").lower() in ("true", "1")
    siblings = [
        {"rfilename": path} | (_blob(path, blob, hub, sibling=True) if with_blobs else {})
        for path, blob in sorted(commit.files.items())
    ]
    about = {"id": found["repo"], "modelId": found["repo"], "sha": commit.id, "private": False, "siblings": siblings}
    return Answer.json(about)


def _tree(asked: Asked, hub: Hub, found: re.Match[str]) -> Answer:
    commit = _commit(asked, hub, found)
    if isinstance(commit, Answer):
        return commit
    recursive, root = asked.query.get("recursive", "").lower() in ("true", "1"), found["root"]
    entries: dict[str, dict[str, Any]] = {}
    for path, blob in sorted(commit.files.items()):
        if root and not path.startswith(root + "/"):
            continue
        rest = path[len(root) + 1 if root else 0 :].split("/")
        for count in range(1, len(rest)):
            folder = "/".join(([root] if root else []) + rest[:count])
            if recursive or count == 1:
                entries.setdefault(folder, {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder})
        if recursive or len(rest) == 1:
            entries[path] = {"type": "file", "path": path} | _blob(path, blob, hub, sibling=False)
    return Answer.json(list(entries.values()))


def _blob(path: str, blob: Blob, hub: Hub, *, sibling: bool) -> dict[str, Any]:
    lie = hub.faults.take("lies", "huggingface/list", path)
    size = blob.size + (lie.size if lie else 0)
    about: dict[str, Any] = {"size": size, "blobId" if sibling else "oid": git_id(path, blob)}
    if in_lfs(path, blob):
        key = "sha256" if sibling else "oid"
        about["lfs"] = {key: blob.sha256, "size": size, "pointerSize": 135}
    return about


def _file(asked: Asked, hub: Hub, found: re.Match[str]) -> Answer:
    name, path = found["repo"], found["path"]
    if hub.faults.take("loop", "huggingface/file", path):
        return Answer(302, {"Location": asked.url})
    commit = _commit(asked, hub, found)
    if isinstance(commit, Answer):
        return commit
    blob = commit.files.get(path)
    if blob is None:
        return _error(404, "EntryNotFound", "Entry not found")
    headers = {"X-Repo-Commit": commit.id}
    if in_lfs(path, blob):
        return Answer(
            302,
            headers
            | {
                "X-Linked-ETag": f'"{blob.sha256}"',
                "X-Linked-Size": str(blob.size),
                "ETag": f'"{git_id(path, blob)}"',
                "Location": f"{hub.cdn}/_cdn/huggingface/{commit.id}/{name}/{quote(path)}",
            },
        )
    part = Part("huggingface/file", name, path, blob, 0, blob.size)
    return content(asked, hub, part, headers | {"ETag": f'"{git_id(path, blob)}"'})


def _commit(asked: Asked, hub: Hub, found: re.Match[str]) -> Commit | Answer:
    repo: Repo | None = hub.repos.get(found["repo"])
    if repo is None or (repo.token and asked.token is None):
        # As the real one: who may not see a repository is not told that it is there.
        return _error(401, "RepoNotFound", "Invalid username or password.")
    if repo.token and repo.token != asked.token:
        return _error(403, "GatedRepo", f"Access to model {found['repo']} is restricted.")
    return repo.commit(found["revision"] or "main") or _error(404, "RevisionNotFound", "Invalid rev id")


def _error(status: int, code: str, message: str) -> Answer:
    return Answer.json({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message})
