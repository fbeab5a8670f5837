"""ModelScope's side of the hub: the list of files, revisions, and files (docs: modelscope-hub 0.5.1's own client)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sim.hub.content import in_lfs
from sim.hub.web import Answer, Part, content

if TYPE_CHECKING:
    from sim.hub.content import Blob, Commit, Repo
    from sim.hub.web import Asked, Hub

# The list has no pages and no mark where it ends early (modelscope-hub 0.5.1, REPO_FILES_TRUNCATION_LIMIT).
CAP = 3000
_PAGE = re.compile(r"/api/v1/models/(?P<repo>[^/]+/[^/]+)(?:/(?P<verb>repo/files|repo|revisions))?")
_WEB_FILE = re.compile(r"/models/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


def answer(asked: Asked, hub: Hub) -> Answer | None:
    """None: the page is not ModelScope's."""
    if found := _WEB_FILE.fullmatch(asked.path):
        repo = _repo(found["repo"], asked, hub)
        return _file(asked, hub, found["repo"], repo, found["revision"], found["path"])
    if not (found := _PAGE.fullmatch(asked.path)):
        return None
    name, verb = found["repo"], found["verb"]
    repo = _repo(name, asked, hub)
    if verb == "repo":
        query = asked.query
        return _file(asked, hub, name, repo, query.get("Revision", "master"), query.get("FilePath", ""))
    return _fault(hub, "modelscope/list", name) or _about(asked, hub, name, repo, verb)


def _about(asked: Asked, hub: Hub, name: str, repo: Repo | None, verb: str | None) -> Answer:
    if repo is None:
        return _error(10010101, "模型不存在")
    if verb == "revisions":
        return _data(_revisions(repo))
    commit = repo.commit(asked.query.get("Revision", "master"))
    if commit is None:
        return _error(10010205, "版本不存在")
    if verb is None:
        path, _, short = name.partition("/")
        return _data(
            {"Id": 1, "Name": short, "Path": path, "Revision": commit.id, "Visibility": 1 if repo.token else 5}
        )
    entries = _entries(commit, hub, asked.query)
    return _data({"Files": entries, "IsVisual": False, "LatestCommitter": {"ShortId": commit.id[:8]}})


def _repo(name: str, asked: Asked, hub: Hub) -> Repo | None:
    repo = hub.repos.get(name)
    return None if repo is None or (repo.token and repo.token != asked.token) else repo


def _entries(commit: Commit, hub: Hub, query: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # a mapping of words
    recursive, root = query.get("Recursive", "").lower() == "true", query.get("Root", "").strip("/")
    below = {path: blob for path, blob in commit.files.items() if not root or path.startswith(root + "/")}
    seen: dict[str, dict[str, Any]] = {}
    for path, blob in sorted(below.items()):
        parts = path.split("/")
        depth = len(root.split("/")) if root else 0
        for count in range(depth + 1, len(parts)):
            folder = "/".join(parts[:count])
            if recursive or count == depth + 1:
                seen.setdefault(folder, _entry(folder, None, commit.id, hub))
        if recursive or len(parts) == depth + 1:
            seen[path] = _entry(path, blob, commit.id, hub)
    return list(seen.values())[:CAP]


def _entry(path: str, blob: Blob | None, commit: str, hub: Hub) -> dict[str, Any]:
    about = {
        "Name": path.rpartition("/")[2], "Path": path, "Type": "blob" if blob else "tree", "Size": 0, "Sha256": "",
        "IsLFS": False, "Revision": commit, "Mode": "33188" if blob else "16384", "InCheck": False,
        "CommitMessage": "", "CommittedDate": 1775179795, "CommitterName": "sim",
    }  # fmt: skip
    if blob:
        lie = hub.faults.take("lies", "modelscope/list", path)
        bare = hub.faults.take("no_sha256", "modelscope/list", path)
        about["Size"] = blob.size + (lie.size if lie else 0)
        about["Sha256"] = "" if bare else blob.sha256
        about["IsLFS"] = in_lfs(path, blob)
    return about


def _revisions(repo: Repo) -> dict[str, Any]:
    tags = [{"Revision": tag, "CreatedAt": 1775179795} for tag in repo.tags]
    return {
        "RevisionMap": {
            "Branches": [{"Revision": "master", "CreatedAt": 1775179795}],
            "Tags": tags,
        },
        "Branches": [{"Revision": "master", "CreatedAt": 1775179795}],
        "Tags": tags,
    }


def _file(asked: Asked, hub: Hub, name: str, repo: Repo | None, revision: str, path: str) -> Answer:
    if failed := _fault(hub, "modelscope/file", path):
        return failed
    if hub.faults.take("loop", "modelscope/file", path):
        return Answer(302, {"Location": asked.url})
    if repo is None:
        return _error(10010101, "模型不存在")
    commit = repo.commit(revision)
    blob = commit.files.get(path) if commit else None
    if commit is None or blob is None:
        return _error(10010206, "文件不存在")
    headers = {"X-Linked-ETag": blob.sha256, "ETag": f'"{blob.sha256}"'}
    if in_lfs(path, blob):
        return Answer(302, headers | {"Location": f"{hub.cdn}/_cdn/modelscope/{commit.id}/{name}/{quote(path)}"})
    part = Part("modelscope/file", name, path, blob, 0, blob.size)
    return content(asked, hub, part, headers, hub.range_status)


def _fault(hub: Hub, on: str, path: str) -> Answer | None:
    if fault := hub.faults.take("code", on, path):
        return _error(fault.status, fault.message)
    return None


def _data(data: object) -> Answer:
    return Answer.json({"Code": 200, "Success": True, "Message": "", "RequestId": "sim", "Data": data})


def _error(code: int, message: str) -> Answer:
    return Answer.json({"Code": code, "Success": False, "Message": message, "RequestId": "sim", "Data": None}, 404)
