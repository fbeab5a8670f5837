"""Calls of CompShare's API over the official SDK: signed, typed, and repeated only where that is safe."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

from gpubox import accounts
from gpubox.errors import AuthFailed, Failed, Unreachable
from gpubox.providers.compshare.answers import NotAvailable, refusal, silence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubox.providers.clock import Clock

URL = "https://api.compshare.cn"
URL_VARIABLE = "GPUBOX_COMPSHARE_URL"
PAGE = 100  # the most that a list gives at once
_TRIES = 3
_PAUSE = 1.0
_WRONG_KEY = (401, 403)

Answer = dict[str, Any]


class Api:
    """One account. `keys` are the public and the private one; left out, they are looked for at the first call.

    `timeout` in seconds, for each call. Raises `AuthFailed`, `Unreachable` when a call's end is not known, and what
    `answers.refusal` makes of a no; `Failed` when the SDK is not installed.
    """

    def __init__(
        self, clock: Clock, *, url: str | None = None, keys: tuple[str, str] | None = None, timeout: float = 30.0
    ) -> None:
        self.clock = clock
        self.url = url or os.environ.get(URL_VARIABLE) or URL
        self._keys = keys
        self._timeout = timeout
        self._client: Any = None

    def read(self, action: str, parameters: Mapping[str, object] | None = None) -> Answer:
        """A call that changes nothing; tried again, up to three times in all, when no answer comes."""
        for attempt in range(1, _TRIES):
            try:
                return self.once(action, parameters)
            except Unreachable:
                self.clock.sleep(_PAUSE * attempt)
        return self.once(action, parameters)

    def once(self, action: str, parameters: Mapping[str, object] | None = None) -> Answer:
        """A call that is made exactly once, whatever comes of it. Parameters that are None are left out."""
        client = self._ready()
        from ucloud.core import exc

        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        try:
            # The SDK would repeat calls by itself, also those that rent: `max_retries` 0 stands in its configuration.
            answer: Answer = client.invoke(action, given, timeout=self._timeout)
        except exc.RetCodeException as error:
            raise refusal(action, error.code, str(error.message or "")) from None
        except exc.HTTPStatusException as error:
            self._status(action, int(error.status_code))
        except exc.UCloudException as error:
            # Its own text holds the whole answer, and so perhaps a password.
            raise silence(action, self.url, f"what came is no answer of its ({type(error).__name__})") from None
        except OSError as error:  # what `requests` raises is one, too
            raise silence(action, self.url, type(error).__name__) from error
        return answer

    def pages(self, action: str, key: str, parameters: Mapping[str, object] | None = None) -> list[Answer]:
        """Every item of a list, over all its pages; none twice, though the list may shift between two pages."""
        found: dict[str, Answer] = {}
        offset = 0
        while True:
            try:
                answer = self.read(action, {**(parameters or {}), "Limit": PAGE, "Offset": offset})
            except NotAvailable:
                if offset:
                    raise
                # Some lists take no `Limit` in some zones, and give everything at once.
                return self._whole(action, key, parameters)
            page: list[Answer] = answer.get(key) or []  # an empty list may be null
            for item in page:
                found.setdefault(_identity(item), item)
            offset += len(page)
            total = answer.get("TotalCount")
            if not page or (offset >= total if isinstance(total, int) else len(page) < PAGE):
                return list(found.values())

    def _whole(self, action: str, key: str, parameters: Mapping[str, object] | None) -> list[Answer]:
        return list(self.read(action, parameters).get(key) or [])

    def _status(self, action: str, status: int) -> NoReturn:
        if status in _WRONG_KEY:
            raise AuthFailed(
                f"CompShare's gateway refused {action} with HTTP status {status}",
                where=self.url,
                hint="see whether something between here and CompShare (a proxy, a firewall) refuses it",
            )
        raise silence(action, self.url, f"HTTP status {status}")

    def _ready(self) -> Any:  # noqa: ANN401  # the SDK has no types
        if self._client is None:
            self._client = self._make()
        return self._client

    def _make(self) -> Any:  # noqa: ANN401  # the SDK has no types
        try:
            from ucloud.core.client import Client
            from ucloud.core.utils.middleware import Middleware
        except ImportError as error:
            raise Failed(
                f"CompShare's SDK is not installed ({error})",
                where="compshare",
                hint="pip install 'gpubox[compshare]'",
            ) from error
        public, private = self._keys or (
            accounts.secret(accounts.COMPSHARE_PUBLIC_KEY),
            accounts.secret(accounts.COMPSHARE_PRIVATE_KEY),
        )
        # A middleware of our own: the SDK's would write every request and answer, passwords and all, to stderr.
        middleware = Middleware()
        middleware.response(_must_be_an_answer)
        return Client(
            {"public_key": public, "private_key": private, "base_url": self.url, "max_retries": 0},
            middleware=middleware,
        )


def _must_be_an_answer(answer: object, _response: object = None) -> object:
    from ucloud.core import exc

    if isinstance(answer, dict) and isinstance(answer.get("RetCode"), int):
        return answer
    raise exc.InvalidResponseException(b"", "not an answer")


def _identity(item: Answer) -> str:
    return str(item.get("UHostId") or item.get("CompShareImageId") or item)
