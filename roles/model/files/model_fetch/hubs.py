"""ModelScope and Hugging Face: where they list a repository, what they say when they do not, where a file is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

from model_fetch import listing
from model_fetch.errors import Asked, Denied, Trouble, Unreachable
from model_fetch.listing import Listing, RemoteFile, is_commit
from model_fetch.spec import MIRROR, OFFICIAL

if TYPE_CHECKING:
    from model_fetch.http import Answer, Get
    from model_fetch.spec import Settings

# `repo/files` silently ends after so many entries (modelscope-hub 0.5.1, REPO_FILES_TRUNCATION_LIMIT).
CAP = 3000
# A tree with more directories above the cap than this is no model.
_WALKS = 2000
_NO_SUCH_MODEL = 10010101
_LATER = "try again later, or another `source`"


class Hub(Protocol):
    """Where models come from. `label` is its name for people."""

    @property
    def source(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    def list(self, get: Get, repository: str, revision: str) -> Listing: ...
    def url(self, repository: str, revision: str, path: str) -> str: ...
    def headers(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class ModelScope:
    """The list has SHA-256 of every file, and ends silently at 3000 entries."""

    endpoint: str
    token: str = field(default="", repr=False)
    source: str = "modelscope"
    label: str = "ModelScope"

    def list(self, get: Get, repository: str, revision: str) -> Listing:
        """The files at `revision` (empty: master). Raises `Asked`, `Denied`, `Unreachable`."""
        asked = revision or "master"
        entries, commit = _Tree(self, get, repository, asked).all()
        files = tuple(
            listing.file(entry.get("Path"), entry.get("Size"), sha256=entry.get("Sha256"), hub=self.label)
            for entry in entries
            if entry.get("Type") != "tree"
        )
        pinned = asked if is_commit(asked) else commit
        return Listing(pinned or asked, bool(pinned), files)

    def url(self, repository: str, revision: str, path: str) -> str:
        """Where a file is; answers with a redirect to a CDN, or with the file."""
        query = urlencode({"Revision": revision, "FilePath": path})
        return f"{self.endpoint}/api/v1/models/{repository}/repo?{query}"

    def headers(self) -> tuple[str, ...]:
        """Its older API knows a session's cookie, and takes an access token as one."""
        return (f"Cookie: m_session_id={self.token}", f"Authorization: Bearer {self.token}") if self.token else ()


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """SHA-256 of big files (LFS) only; of small ones git's own SHA-1."""

    endpoint: str
    token: str = field(default="", repr=False)
    source: str = "huggingface"
    label: str = "Hugging Face"

    def list(self, get: Get, repository: str, revision: str) -> Listing:
        """The files at `revision` (empty: main). Raises `Asked`, `Denied`, `Unreachable`."""
        asked = quote(revision or "main", safe="")
        answer = get(f"{self.endpoint}/api/models/{repository}/revision/{asked}?blobs=true", self.headers())
        data = answer.json()
        if answer.status != 200 or not isinstance(data, dict) or not isinstance(data.get("siblings"), list):
            raise self._refused(answer, data, repository, revision)
        files = tuple(self._file(item) for item in data["siblings"] if isinstance(item, dict))
        commit = str(data.get("sha"))
        return Listing(commit if is_commit(commit) else revision or "main", is_commit(commit), files)

    def url(self, repository: str, revision: str, path: str) -> str:
        """Where a file is."""
        return f"{self.endpoint}/{repository}/resolve/{quote(revision, safe='')}/{quote(path)}"

    def headers(self) -> tuple[str, ...]:
        """The token, if there is one."""
        return (f"Authorization: Bearer {self.token}",) if self.token else ()

    def _file(self, item: dict[str, Any]) -> RemoteFile:
        lfs = item.get("lfs") or {}
        size, sha256 = lfs.get("size", item.get("size")), lfs.get("sha256") or lfs.get("oid")
        git = None if lfs else item.get("blobId")
        return listing.file(item.get("rfilename"), size, sha256=sha256, git=git, hub=self.label)

    def _refused(self, answer: Answer, data: object, repository: str, revision: str) -> Trouble:
        code = answer.headers.get("x-error-code", "")
        said = answer.headers.get("x-error-message") or (data.get("error") if isinstance(data, dict) else "")
        where = f"{self.label} ({urlsplit(self.endpoint).netloc})"
        if code == "RevisionNotFound":
            return Asked(f"{where} has no revision `{revision}` of `{repository}`", "see `revision`")
        if code == "GatedRepo" or (answer.status == 403):
            hint = f"ask for access at {self.endpoint}/{repository}, then set HF_TOKEN"
            return Denied(f"`{repository}` is gated on {where}", hint)
        if code == "RepoNotFound" or answer.status in (401, 404):
            hint = (
                "see `id`; a private one needs HF_TOKEN" if not self.token else "see `id`, and what HF_TOKEN may read"
            )
            return Asked(f"{where} has no model `{repository}`", hint)
        return Unreachable(_broken(where, answer.status, str(said or "")[:200]), _LATER)


class _Tree:
    """The tree of a ModelScope repository, in as few lists as there can be."""

    def __init__(self, hub: ModelScope, get: Get, repository: str, revision: str) -> None:
        self._hub, self._get, self._repository, self._revision = hub, get, repository, revision
        self._commit = ""
        self._lists = 0

    def all(self) -> tuple[list[dict[str, Any]], str]:
        """Every entry, and the full commit if it can be known."""
        entries = {str(entry.get("Path")): entry for entry in self._below("")}
        return list(entries.values()), self._full(entries.values())

    def _below(self, root: str) -> list[dict[str, Any]]:
        """A list that is as long as the cap is not whole: then each directory by itself."""
        entries = self._list(root, recursive=True)
        if len(entries) < CAP:
            return entries
        flat = self._list(root, recursive=False)
        if len(flat) >= CAP:
            where = f"`{root or '/'}` of `{self._repository}`"
            raise Asked(f"{where} has {CAP} entries or more, and {self._hub.label} lists no more", "fetch it elsewhere")
        deeper = [entry for item in flat if item.get("Type") == "tree" for entry in self._below(str(item["Path"]))]
        return [*flat, *deeper]

    def _list(self, root: str, *, recursive: bool) -> list[dict[str, Any]]:
        self._lists += 1
        if self._lists > _WALKS:
            raise Asked(f"`{self._repository}` has too many directories to list", "fetch it elsewhere")
        query = {"Revision": self._revision, "Recursive": str(recursive), **({"Root": root} if root else {})}
        url = f"{self._hub.endpoint}/api/v1/models/{self._repository}/repo/files?{urlencode(query)}"
        answer = self._get(url, self._hub.headers())
        data = answer.json()
        inner = data.get("Data") if isinstance(data, dict) else None
        good = answer.status == 200 and isinstance(data, dict) and data.get("Success", True) is not False
        if not good or not isinstance(inner, dict) or not isinstance(inner.get("Files") or [], list):
            raise self._refused(answer, data)
        if not root:
            committer = inner.get("LatestCommitter") or {}
            self._commit = str(committer.get("Id") or committer.get("ShortId") or "")
        return [entry for entry in inner.get("Files") or [] if isinstance(entry, dict)]

    def _full(self, entries: Any) -> str:  # noqa: ANN401  # a view of a dict
        """The short commit of the list, made long by the files that came with it; empty when none did."""
        if is_commit(self._commit):
            return self._commit
        longs = {str(entry.get("Revision")) for entry in entries if is_commit(entry.get("Revision"))}
        found = [commit for commit in longs if self._commit and commit.startswith(self._commit)]
        return found[0] if len(found) == 1 else ""

    def _refused(self, answer: Answer, data: object) -> Trouble:
        where = f"{self._hub.label} ({urlsplit(self._hub.endpoint).netloc})"
        code = data.get("Code") if isinstance(data, dict) else None
        said = str(data.get("Message") or "")[:200] if isinstance(data, dict) else ""
        if answer.status in (401, 403):
            return Denied(
                f"{where} does not show `{self._repository}`: {said}".rstrip(": "), "set MODELSCOPE_API_TOKEN"
            )
        if code == _NO_SUCH_MODEL or answer.status == 404:
            hint = "see `id` and `revision`; a private one needs MODELSCOPE_API_TOKEN"
            words = f" ({said})" if said else ""
            return Asked(f"{where} has no model `{self._repository}` at `{self._revision}`{words}", hint)
        return Unreachable(_broken(where, answer.status, f"{code}: {said}" if said else ""), _LATER)


def _broken(where: str, status: int, said: str) -> str:
    words = f" ({said})" if said else ""
    return f"{where} does not list the model's files: it answers HTTP {status}{words}"


def hub_of(source: str, settings: Settings) -> Hub:
    """The hub of that name."""
    if source == "modelscope":
        return ModelScope(settings.modelscope_endpoint, settings.modelscope_token)
    return HuggingFace(settings.huggingface_endpoint, settings.huggingface_token)


def mirror(settings: Settings) -> HuggingFace | None:
    """Hugging Face's mirror, without a token: that was given for another host. None beside an endpoint of one's own."""
    given = settings.huggingface_endpoint != OFFICIAL and settings.huggingface_mirror == MIRROR
    if given or settings.huggingface_mirror in ("", settings.huggingface_endpoint):
        return None
    return HuggingFace(settings.huggingface_mirror, label="the mirror of Hugging Face")
