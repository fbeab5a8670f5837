"""open-webui's HTTP API, as much of it as we need, on 127.0.0.1."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from webui_box.errors import Trouble

if TYPE_CHECKING:
    from pathlib import Path

# A first request may wait for its engines' lists of models.
_TIMEOUT = 60.0


class Pending(Exception):
    """No answer, or not yet the right one; asking again can help."""


class Api:
    """One open-webui. Every method raises `Pending` when it does not answer, and `Trouble` when it refuses."""

    def __init__(self, port: int, token: str = "") -> None:
        self._port = port
        self._token = token

    def healthy(self) -> bool:
        """Whether it is up."""
        return self._ask("GET", "/health")[0] == 200

    def sign_in(self, email: str, password_file: Path) -> None:
        """Sign in as `email`."""
        try:
            password = password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Trouble(f"`{password_file}` cannot be read: {error.strerror}") from None
        status, answer = self._ask("POST", "/api/v1/auths/signin", {"email": email, "password": password})
        if status == 429:
            raise Trouble(f"open-webui lets `{email}` try again in 3 minutes: too many sign-ins")
        if status in {400, 401, 403}:
            raise Trouble(
                f"open-webui does not let `{email}` in with the password in `{password_file}`: it was changed in the "
                f"web UI, or this database has another admin. Tell gpubox the right one (`gpubox open NAME "
                "--set-password`, then `gpubox up NAME`); without gpubox write it there, or set "
                "`open_webui_admin_email` and `open_webui_admin_password`"
            )
        self._token = str(_good("sign-in", status, answer)["token"])

    def models(self) -> list[str]:
        """Names of what can be chosen in the web UI: engines' models and agents."""
        status, answer = self._ask("GET", "/api/models")
        return [str(model["id"]) for model in _good("the list of models", status, answer)["data"]]

    def chat(self, name: str) -> dict[str, Any] | None:
        """A chat of the user by its id; None when open-webui has none for him."""
        status, answer = self._ask("GET", f"/api/v1/chats/{quote(name)}")
        if status in {401, 404}:
            return None
        found: dict[str, Any] = _good("a chat", status, answer)
        return found

    def agent(self, name: str) -> dict[str, Any] | None:
        """An agent by its id."""
        status, answer = self._ask("GET", f"/api/v1/models/model?{urlencode({'id': name})}")
        if status == 404:
            return None
        found: dict[str, Any] | None = _good(f"agent `{name}`", status, answer)
        return found

    def create(self, form: dict[str, Any]) -> None:
        """Make an agent."""
        _good(f"agent `{form['id']}`", *self._ask("POST", "/api/v1/models/create", form))

    def update(self, form: dict[str, Any]) -> None:
        """Change an agent."""
        _good(f"agent `{form['id']}`", *self._ask("POST", "/api/v1/models/model/update", form))

    def _ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self._token}"} if self._token else {}
        )
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT)
        try:
            connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Pending(f"{method} {path.partition('?')[0]}: {error or type(error).__name__}") from None
        finally:
            connection.close()


def _good(what: str, status: int, answer: Any) -> Any:  # noqa: ANN401 - JSON is what it is
    if status >= 500:
        raise Pending(f"{what}: HTTP {status}")
    if status != 200:
        detail = answer.get("detail") if isinstance(answer, dict) else answer
        raise Trouble(f"open-webui refuses {what}: HTTP {status}: {json.dumps(detail, ensure_ascii=False)[:300]}")
    return answer
