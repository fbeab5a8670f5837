"""AutoDL's API over HTTP: the token, the envelope, and what a broken answer means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import httpx

from gpubox import accounts
from gpubox.errors import AuthFailed, Failed, Unreachable, UsageError
from gpubox.providers.autodl.refusals import WHERE, refusal
from gpubox.providers.clock import WALL

if TYPE_CHECKING:
    from gpubox.errors import GpuboxError
    from gpubox.providers.clock import Clock

URL = "https://api.autodl.com"
_PRO = "/api/v1/dev/instance/pro"
# To connect, and for an answer, in seconds. Creating a box takes AutoDL longest.
_TIMEOUT = httpx.Timeout(45.0, connect=15.0)
_PAUSES = (1.0, 3.0)  # between the tries of a call that changes nothing


class NotSent(Unreachable):
    """AutoDL was never reached, so nothing was done."""


class _Operation(NamedTuple):
    method: Literal["GET", "POST"]
    path: str


_OPERATIONS = {
    "balance": _Operation("POST", "/api/v1/dev/wallet/balance"),
    "create": _Operation("POST", f"{_PRO}/create"),
    "snapshot": _Operation("GET", f"{_PRO}/snapshot"),
    "status": _Operation("GET", f"{_PRO}/status"),
    "list": _Operation("POST", f"{_PRO}/list"),
    "power_on": _Operation("POST", f"{_PRO}/power_on"),
    "power_off": _Operation("POST", f"{_PRO}/power_off"),
    "release": _Operation("POST", f"{_PRO}/release"),
    "image_save": _Operation("POST", f"{_PRO}/image/save"),
    "images": _Operation("POST", f"{_PRO}/image/private/list"),
    "gpu_stock": _Operation("POST", "/api/v1/dev/machine/region/gpu_stock"),
}


class Api:
    """One account. `url` and `token`: by default AutoDL's, or `$GPUBOX_AUTODL_URL`; and what `accounts` finds.

    Both methods return `data` of the answer. They raise `Unreachable` when there was no answer that can be read, and
    the errors of `refusals`.
    """

    def __init__(self, *, url: str | None = None, token: str | None = None, clock: Clock = WALL) -> None:
        self._url = (url or os.environ.get("GPUBOX_AUTODL_URL") or URL).rstrip("/")
        self._token = token
        self._clock = clock
        self._http: httpx.Client | None = None

    def look(self, operation: str, **parameters: object) -> Any:  # noqa: ANN401  # `data` is whatever JSON can be
        """A call that changes nothing; tried three times when there is no answer."""
        for pause in _PAUSES:
            try:
                return self.act(operation, **parameters)
            except Unreachable:
                self._clock.sleep(pause)
        return self.act(operation, **parameters)

    def act(self, operation: str, **parameters: object) -> Any:  # noqa: ANN401
        """A call that is made once, whatever becomes of it."""
        return _data(operation, self._answer(operation, parameters))

    def _answer(self, operation: str, parameters: dict[str, object]) -> httpx.Response:
        if self._token is None:
            self._token = accounts.secret(accounts.AUTODL_TOKEN)
        if self._http is None:
            self._http = _client(self._url)
        method, path = _OPERATIONS[operation]
        # The documentation shows JSON bodies for GET; the live API refuses those.
        content: dict[str, Any] = {"params" if method == "GET" else "json": parameters} if parameters else {}
        try:
            # The token stands alone in the header, without `Bearer`.
            return self._http.request(method, self._url + path, headers={"Authorization": self._token}, **content)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise NotSent(
                f"cannot connect to `{self._url}`: {error}",
                where=f"{WHERE}, {operation}",
                hint="look at this machine's network and proxy settings, then try again",
            ) from None
        except httpx.TimeoutException:
            raise _unclear(operation, "no answer in time") from None
        except httpx.TransportError as error:
            raise _unclear(operation, f"the connection broke: {error}") from None


def _client(url: str) -> httpx.Client:
    host = urlsplit(url).hostname
    if not url.startswith(("https://", "http://")) or not host:
        raise UsageError(
            f"`{url}` is not the address of an API", where="GPUBOX_AUTODL_URL", hint="it begins with https://"
        )
    try:
        return httpx.Client(timeout=_TIMEOUT, trust_env=host not in ("127.0.0.1", "::1", "localhost"))
    except (ImportError, ValueError, OSError) as error:  # a SOCKS proxy, another odd proxy, a missing $SSL_CERT_FILE
        raise Failed(
            f"the network settings in this environment cannot be used: {error}",
            where=WHERE,
            hint="look at ALL_PROXY, HTTPS_PROXY and SSL_CERT_FILE: the proxy has to be an http:// one, or none, "
            "as in `ALL_PROXY= HTTPS_PROXY= gpubox ls`",
        ) from None


def unreadable(operation: str) -> Unreachable:
    """For an answer that says success and lacks what it must have. Its text is not shown: it may hold a password."""
    return _unclear(operation, "the answer is not what AutoDL's documentation says")


def _data(operation: str, response: httpx.Response) -> Any:  # noqa: ANN401
    if response.status_code != httpx.codes.OK:
        raise _http_error(operation, response.status_code)
    try:
        body = response.json()
    except ValueError:
        raise _unclear(
            operation, "the answer is not JSON; a proxy or a network's login page may stand between"
        ) from None
    if not isinstance(body, dict) or not isinstance(body.get("code"), str):
        raise unreadable(operation)
    if body["code"] != "Success":
        raise refusal(body["code"], str(body.get("msg") or ""), operation)
    return body.get("data")


def _http_error(operation: str, status: int) -> GpuboxError:
    where = f"{WHERE}, {operation}"
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return AuthFailed(f"AutoDL's API answers HTTP {status}", where=where, hint="look at the developer token")
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.TOO_MANY_REQUESTS:
        return _unclear(operation, f"HTTP {status}")
    return Failed(
        f"AutoDL's API answers HTTP {status}", where=where, hint="look at `GPUBOX_AUTODL_URL`, or for a newer gpubox"
    )


def _unclear(operation: str, what: str) -> Unreachable:
    return Unreachable(
        f"AutoDL gave no answer that can be read: {what}", where=f"{WHERE}, {operation}", hint="try again in a minute"
    )
