"""Words to a person's phone, with nothing but the standard library: the destinations that people here use.

URLs are written as apprise writes them. They are secrets: they stand in a 0600 file and in nobody's words.
"""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import NamedTuple

_TIMEOUT = 15.0
SCHEMES = ("json", "jsons", "http", "https", "schan", "wecombot", "feishu", "tgram")


class PushError(Exception):
    """A destination did not take it; the words name its kind and never its secret."""


class Post(NamedTuple):
    """One HTTP POST; `login`: `user:password` for HTTP's own way to log in."""

    url: str
    body: dict[str, object]
    login: str = ""


def push(url: str, title: str, words: str) -> None:
    """Send it. Raises `PushError`."""
    kind = url.partition(":")[0]
    made = post(url, title, words)
    headers = {"Content-Type": "application/json", "User-Agent": "gpubox"}
    if made.login:
        headers["Authorization"] = f"Basic {base64.b64encode(made.login.encode()).decode()}"
    request = urllib.request.Request(made.url, json.dumps(made.body).encode(), headers)  # noqa: S310 - see SCHEMES
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            refused = _refused(answer.read(65536))
    except urllib.error.HTTPError as error:
        error.close()
        raise PushError(f"`{kind}` answers HTTP status {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        # The words of some of these have the whole URL in them.
        reason = getattr(error, "reason", None)
        shown = reason.strerror if isinstance(reason, OSError) and reason.strerror else type(error).__name__
        raise PushError(f"`{kind}` cannot be reached: {shown}") from None
    if refused:
        raise PushError(f"`{kind}` refuses it: {refused}")


def post(url: str, title: str, words: str) -> Post:
    """The request for one destination. Raises `PushError` for a kind that a box cannot send to."""
    parts = urllib.parse.urlsplit(url)
    key, path = parts.netloc, parts.path.strip("/")
    text = f"{title}\n{words}"
    match parts.scheme:
        case "json" | "jsons" | "http" | "https":
            scheme = {"json": "http", "jsons": "https"}.get(parts.scheme, parts.scheme)
            body: dict[str, object] = {"version": "1.0", "title": title, "message": words, "type": "info"}
            login, _, place = parts.netloc.rpartition("@")
            address = urllib.parse.urlunsplit((scheme, place, parts.path, parts.query, ""))
            return Post(address, body, urllib.parse.unquote(login))
        case "schan":
            return Post(f"https://sctapi.ftqq.com/{key}.send", {"title": title, "desp": words})
        case "wecombot":
            address = f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={key}"
            return Post(address, {"msgtype": "text", "text": {"content": text}})
        case "feishu":
            address = f"https://open.feishu.cn/open-apis/bot/v2/hook/{key}"
            return Post(address, {"msg_type": "text", "content": {"text": text}})
        case "tgram":
            chat = path.split("/")[0]
            return Post(f"https://api.telegram.org/bot{key}/sendMessage", {"chat_id": chat, "text": text})
    raise PushError(f"a box cannot send to `{parts.scheme}`; it can to {', '.join(SCHEMES)}")


def _refused(answer: bytes) -> str | None:
    """These services say no with HTTP status 200: WeCom `errcode`, Feishu and Server酱 `code`, Telegram `ok`."""
    try:
        data = json.loads(answer)
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    number = data.get("errcode", data.get("code", 0))
    if number in (0, 200, "0") and data.get("ok", True):
        return None
    return str(data.get("errmsg") or data.get("msg") or data.get("description") or data.get("message") or number)[:200]
