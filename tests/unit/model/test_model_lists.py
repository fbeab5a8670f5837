"""What hubs list, and what they say when they do not; how the fastest way is found."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from model_fetch import hubs, routes
from model_fetch.errors import Asked, Denied, Trouble, Unreachable
from model_fetch.http import Answer
from model_fetch.hubs import HuggingFace, ModelScope
from model_fetch.spec import Settings, from_json

if TYPE_CHECKING:
    from pathlib import Path

    from model_fetch.http import Get

COMMIT = "b443a932" + "0" * 32
SHA = "a" * 64


class Tree:
    """A ModelScope that ends its lists at 3000 entries, as the real one does, and says nothing of it."""

    def __init__(self, *paths: str) -> None:
        self.paths = paths
        self.asked: list[str] = []

    def __call__(self, url: str, headers: tuple[str, ...]) -> Answer:
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        root = query.get("Root", "")
        self.asked.append(root + (" flat" if query["Recursive"] == "False" else ""))
        below = [path for path in self.paths if not root or path.startswith(root + "/")]
        found: dict[str, dict[str, Any]] = {}
        for path in below:
            rest = path.removeprefix(f"{root}/" if root else "").split("/")
            for depth in range(1, len(rest) if query["Recursive"] == "True" else min(2, len(rest))):
                folder = "/".join([*([root] if root else []), *rest[:depth]])
                found[folder] = {"Path": folder, "Type": "tree", "Size": 0}
            if query["Recursive"] == "True" or len(rest) == 1:
                found[path] = {"Path": path, "Type": "blob", "Size": 1, "Sha256": SHA, "Revision": COMMIT}
        data = {"Files": list(found.values())[: hubs.CAP], "LatestCommitter": {"ShortId": COMMIT[:8]}}
        return Answer(200, {}, json.dumps({"Code": 200, "Success": True, "Data": data}).encode())


def test_a_list_as_long_as_the_cap_is_walked_by_directory() -> None:
    tree = Tree(*(f"d{number // 1000}/f{number}" for number in range(3500)), "config.json")
    listing = ModelScope("https://ms").list(tree, "o/m", "")
    assert len(listing.files) == 3501
    assert (listing.revision, listing.pinned) == (COMMIT, True)
    assert tree.asked == ["", " flat", "d0", "d1", "d2", "d3"]


def test_a_directory_that_cannot_be_listed_whole_is_refused() -> None:
    with pytest.raises(Asked, match="`d` of `o/m` has 3000 entries or more"):
        ModelScope("https://ms").list(Tree(*(f"d/f{number}" for number in range(3100))), "o/m", "")


def test_a_short_list_is_one_call() -> None:
    tree = Tree("a/b/c.txt", "d.txt")
    listing = ModelScope("https://ms").list(tree, "o/m", "")
    assert [file.path for file in listing.files] == ["a/b/c.txt", "d.txt"]
    assert tree.asked == [""]


def answering(status: int, body: object, **headers: str) -> Get:
    answer = Answer(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode()
    )

    def get(url: str, headers: tuple[str, ...]) -> Answer:
        return answer

    return get


@pytest.mark.parametrize(
    ("path", "size"), [("../x", 1), ("/etc/passwd", 1), ("a/../../b", 1), ("a\\b", 1), ("", 1), ("a", -1), ("a", None)]
)
def test_a_list_cannot_lead_out_of_the_directory(path: str, size: int | None) -> None:
    data = {"Data": {"Files": [{"Path": path, "Type": "blob", "Size": size}]}}
    with pytest.raises(Unreachable, match=r"ModelScope lists a (path that leads out|file without)"):
        ModelScope("https://ms").list(answering(200, data), "o/m", "")


def test_hugging_face_tells_sha256_of_big_files_and_gits_checksum_of_small_ones() -> None:
    siblings = [
        {"rfilename": "w.gguf", "size": 9, "blobId": "c" * 40, "lfs": {"sha256": SHA, "size": 9, "pointerSize": 135}},
        {"rfilename": "a.txt", "size": 5, "blobId": "d" * 40},
    ]
    listing = HuggingFace("https://hf").list(answering(200, {"sha": "e" * 40, "siblings": siblings}), "o/m", "v1")
    assert (listing.revision, listing.pinned) == ("e" * 40, True)
    assert [(file.path, file.size, file.sha256, file.git) for file in listing.files] == [
        ("w.gguf", 9, SHA, ""),
        ("a.txt", 5, "", "d" * 40),
    ]


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (answering(401, {}, x_error_code="RepoNotFound"), Asked, "Hugging Face (hf.example) has no model `o/m`"),
        (answering(404, {}, x_error_code="RevisionNotFound"), Asked, "no revision `v1`"),
        (answering(403, {}, x_error_code="GatedRepo"), Denied, "ask for access at https://hf.example/o/m, then set HF"),
        (answering(502, {"error": "bad gateway"}), Unreachable, "it answers HTTP 502 (bad gateway); try again later"),
        (answering(200, []), Unreachable, "it answers HTTP 200"),
    ],
)
def test_what_hugging_face_refuses(answer: Get, error: type[Trouble], said: str) -> None:
    with pytest.raises(error) as caught:
        HuggingFace("https://hf.example").list(answer, "o/m", "v1")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (
            answering(404, {"Code": 10010101, "Success": False, "Message": "模型不存在"}),
            Asked,
            "(模型不存在); see `id`",
        ),
        (answering(200, {"Code": 10010101, "Success": False, "Message": ""}), Asked, "has no model `o/m` at `v1`"),
        (answering(403, {"Message": "no"}), Denied, "set MODELSCOPE_API_TOKEN"),
        (answering(200, "<html>"), Unreachable, "ModelScope (ms.example) does not list the model's files"),
    ],
)
def test_what_modelscope_refuses(answer: Get, error: type[Trouble], said: str) -> None:
    with pytest.raises(error) as caught:
        ModelScope("https://ms.example").list(answer, "o/m", "v1")
    assert said in str(caught.value)


def test_paths_are_quoted_in_urls() -> None:
    assert ModelScope("https://ms").url("o/m", "v", "a b/ü&c.txt").endswith("?Revision=v&FilePath=a+b%2F%C3%BC%26c.txt")
    assert (
        HuggingFace("https://hf").url("o/m", "refs/pr/1", "a b/#.txt")
        == "https://hf/o/m/resolve/refs%2Fpr%2F1/a%20b/%23.txt"
    )


PROXY = {"https_proxy": "http://10.0.0.1:3128"}


def test_proxies_are_a_way_of_their_own_and_the_turbo_is_for_hugging_face(tmp_path: Path) -> None:
    script = tmp_path / "network_turbo"
    script.write_text(
        "export no_proxy=localhost,modelscope.com\n"
        "export http_proxy=http://172.20.0.113:12798 && export https_proxy=http://172.20.0.113:12798\n"
        "export SSL_CERT_FILE=/etc/ssl/turbo.crt\necho 设置成功\n"
    )
    settings = Settings(network_turbo=str(script), huggingface_token="hf_secret")
    assert [str(way) for way in routes.routes("modelscope", settings, PROXY)] == [
        "ModelScope (modelscope.cn)",
        "ModelScope (modelscope.cn) by the box's own proxy",
    ]
    ways = routes.routes("huggingface", settings, {})
    assert [str(way) for way in ways] == [
        "Hugging Face (huggingface.co)",
        "Hugging Face (huggingface.co) by the network turbo",
        "the mirror of Hugging Face (hf-mirror.com)",
    ]
    assert ways[0].environment is None
    assert ways[1].environment is not None
    assert ways[1].environment["https_proxy"] == "http://172.20.0.113:12798"
    assert ways[1].environment["SSL_CERT_FILE"] == "/etc/ssl/turbo.crt"
    # The token was given for Hugging Face, not for a mirror of it.
    assert [bool(way.hub.headers()) for way in ways] == [True, True, False]
    assert "hf_secret" not in repr(ways)


@pytest.mark.parametrize("content", ["exit 3\n", "echo nothing\n", "export no_proxy=x\n"])
def test_a_turbo_that_sets_no_proxy_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "turbo").write_text(content)
    assert routes.turbo(str(tmp_path / "turbo")) == {}
    assert routes.turbo(str(tmp_path / "missing")) == {}


def test_an_endpoint_of_ones_own_has_no_mirror_and_this_machine_no_proxy() -> None:
    settings = Settings(huggingface_endpoint="http://127.0.0.1:9", network_turbo="")
    assert len(routes.routes("huggingface", settings, PROXY)) == 1
    given = Settings(huggingface_endpoint="https://hf.example", huggingface_mirror="https://mirror.example")
    assert [way.hub.endpoint for way in routes.routes("huggingface", given, {})][-1] == "https://mirror.example"


def test_the_first_good_answer_wins_and_a_hubs_own_no_says_more_than_a_dead_line() -> None:
    ways = routes.routes("huggingface", Settings(network_turbo=""), {})

    def ask(way: routes.Route) -> str:
        if way is ways[0]:
            raise Unreachable("no line")
        return "listed"

    assert routes.first(ways, ask) == (ways[1], "listed")
    telling = routes.most_telling([Unreachable("no line"), Asked("no such model")])
    assert str(telling) == "no such model"
    assert "no line; dead" in str(routes.most_telling([Unreachable("no line"), Unreachable("dead")]))


ASK = {"name": "m", "source": "modelscope", "id": "o/m"}


def test_the_key_is_of_what_is_asked_for_and_not_of_how_it_is_fetched() -> None:
    key = from_json(ASK, {}).key
    how = {"connections": 3, "modelscope_endpoint": "https://x/", "models": "/data", "refresh": True}
    assert from_json({**ASK, **how}, {"HF_TOKEN": "t"}).key == key
    for change in ({"quant": "Q8_0"}, {"include": ["*"]}, {"revision": "v1"}, {"weights": False}, {"id": "o/n"}):
        assert from_json({**ASK, **change}, {}).key != key


def test_a_spec_has_no_other_fields_and_no_shown_tokens() -> None:
    with pytest.raises(Asked, match="a model has no field `quants`"):
        from_json({**ASK, "quants": "Q4"}, {})
    with pytest.raises(Asked, match="`ollama` is no hub"):
        from_json({**ASK, "source": "ollama"}, {})
    with pytest.raises(Asked, match="a model needs `id`"):
        from_json({"name": "m", "source": "modelscope"}, {})
    spec = from_json({**ASK, "models": "/data"}, {"MODELSCOPE_API_TOKEN": "ms_secret\n"})
    assert spec.settings.modelscope_token == "ms_secret"
    assert spec.directory == "/data/m"
    assert "ms_secret" not in repr(spec)


def test_nobody_waits_for_a_dead_line_once_another_one_has_answered() -> None:
    ways = routes.routes("huggingface", Settings(network_turbo=""), {})
    dead = threading.Event()

    def ask(way: routes.Route) -> str:
        if way is ways[0]:
            dead.wait(600)
        return "listed"

    try:
        assert routes.first(ways, ask) == (ways[1], "listed")
    finally:
        dead.set()
