"""The simulated hub says what the real ones say, quirks included."""

from __future__ import annotations

import hashlib
import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from sim.hub import HubServer, Made, hub, repo

if TYPE_CHECKING:
    from collections.abc import Iterator

BIG = Made(7, (3 << 20) + 11)
NAME = "acme/tiny"
FILE = f"/api/v1/models/{NAME}/repo?Revision=master&FilePath=deep/model.safetensors"


@pytest.fixture
def served() -> Iterator[HubServer]:
    private = repo({"config.json": b"{}"}, token="hf_secret")
    with hub({NAME: repo({"config.json": b"{}", "deep/model.safetensors": BIG}), "acme/private": private}) as server:
        yield server


class Got:
    def __init__(self, url: str, path: str, method: str = "GET", **headers: str) -> None:
        split = urlsplit(url)
        connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=names)
        answer = connection.getresponse()
        self.status, self.headers = answer.status, answer.headers
        try:
            self.body = answer.read()
        except http.client.IncompleteRead as error:
            self.body = error.partial
        connection.close()

    @property
    def json(self) -> Any:  # noqa: ANN401  # JSON
        return json.loads(self.body)

    def follow(self, **headers: str) -> Got:
        target = urlsplit(self.headers["Location"])
        return Got(f"{target.scheme}://{target.netloc}", target.path, **headers)


def test_modelscope_lists_every_file_with_its_sha256(served: HubServer) -> None:
    data = Got(served.url, f"/api/v1/models/{NAME}/repo/files?Revision=master&Recursive=true").json["Data"]
    rows = {row["Path"]: (row["Type"], row["Size"], row["Sha256"], row["IsLFS"]) for row in data["Files"]}
    assert rows == {
        "config.json": ("blob", 2, hashlib.sha256(b"{}").hexdigest(), False),
        "deep": ("tree", 0, "", False),
        "deep/model.safetensors": ("blob", BIG.size, BIG.sha256, True),
    }
    flat = Got(served.url, f"/api/v1/models/{NAME}/repo/files?Revision=master").json["Data"]["Files"]
    assert [row["Path"] for row in flat] == ["config.json", "deep"]
    unknown = Got(served.url, "/api/v1/models/acme/none/repo/files")
    assert (unknown.status, unknown.json["Code"], unknown.json["Message"]) == (404, 10010101, "模型不存在")


def test_modelscope_answers_a_range_with_200(served: HubServer) -> None:
    first = Got(served.url, FILE)
    assert (first.status, first.headers["X-Linked-ETag"]) == (302, BIG.sha256)
    part = first.follow(Range="bytes=1048570-1048585")
    assert (part.status, part.headers["Content-Range"]) == (200, f"bytes 1048570-1048585/{BIG.size}")
    assert part.body == b"".join(map(bytes, BIG.pieces(1048570, 1048586)))
    assert first.follow(Range=f"bytes={BIG.size}-").status == 416
    whole = first.follow()
    assert hashlib.sha256(whole.body).hexdigest() == BIG.sha256
    assert served.counters.sent("deep/model.safetensors") == BIG.size + 16


def test_huggingface_answers_it_with_206_and_names_the_commit(served: HubServer) -> None:
    about = Got(served.url, f"/api/models/{NAME}/revision/main?blobs=true").json
    big = next(row for row in about["siblings"] if row["rfilename"] == "deep/model.safetensors")
    assert big["lfs"] == {"sha256": BIG.sha256, "size": BIG.size, "pointerSize": 135}
    tree = Got(served.url, f"/api/models/{NAME}/tree/main?recursive=1").json
    assert [(row["type"], row["path"]) for row in tree] == [
        ("file", "config.json"), ("directory", "deep"), ("file", "deep/model.safetensors")
    ]  # fmt: skip
    head = Got(served.url, f"/{NAME}/resolve/main/deep/model.safetensors", "HEAD")
    assert (head.status, head.headers["X-Repo-Commit"]) == (302, about["sha"])
    assert (head.headers["X-Linked-Size"], head.headers["X-Linked-ETag"]) == (str(BIG.size), f'"{BIG.sha256}"')
    assert head.follow(Range="bytes=5-").status == 206


def test_a_private_repository_needs_its_token(served: HubServer) -> None:
    assert Got(served.url, "/api/models/acme/private").status == 401
    assert Got(served.url, "/api/models/acme/private", Authorization="Bearer other").status == 403
    assert Got(served.url, "/api/models/acme/private", Authorization="Bearer hf_secret").status == 200
    files = "/api/v1/models/acme/private/repo/files"
    assert Got(served.url, files).status == 404
    assert Got(served.url, files, Cookie="m_session_id=hf_secret").json["Code"] == 200


def test_faults_hit_what_they_are_for(served: HubServer) -> None:
    first = Got(served.url, FILE)
    served.faults.cut(1 << 20, on="modelscope/cdn").wrong(5, on="modelscope/cdn", times=1)
    cut = first.follow()
    assert len(cut.body) == 1 << 20
    assert [at for at in range(9) if cut.body[at] != b"".join(map(bytes, BIG.pieces(0, 9)))[at]] == [5]
    assert first.follow(Range="bytes=0-8").body == b"".join(map(bytes, BIG.pieces(0, 9)))
    served.faults.restart().http(429, on="*/list", times=1, retry_after=3)
    refused = Got(served.url, f"/api/models/{NAME}")
    assert (refused.status, refused.headers["Retry-After"]) == (429, "3")
    assert Got(served.url, f"/api/models/{NAME}").status == 200
    served.faults.restart().add("lies", path="config.json", size=9)
    assert Got(served.url, f"/api/v1/models/{NAME}/repo/files").json["Data"]["Files"][0]["Size"] == 11


def test_a_branch_moves_and_a_commit_stays(served: HubServer) -> None:
    held = served.repos[NAME]
    old = held.commits[-1].id
    new = held.push({"config.json": b"[]"})
    assert old != new
    assert Got(served.url, f"/{NAME}/resolve/main/config.json").body == b"[]"
    assert Got(served.url, f"/{NAME}/resolve/{old}/config.json").body == b"{}"
    assert Got(served.url, f"/api/models/{NAME}").json["sha"] == new
