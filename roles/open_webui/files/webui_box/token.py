"""Tokens of a web UI's users, signed as open-webui signs them: to act as a user without that user's password.

Since 0.12 a token has to carry the `session_stamp` of its user's row in `auth`: without it, it is refused (HTTP 401).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from typing import TYPE_CHECKING

from webui_box.errors import Trouble

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

_HEADER = {"alg": "HS256", "typ": "JWT"}


def sign(secret: str, user_id: str, seconds: int, *, stamp: str | None = None) -> str:
    """A JSON Web Token of this user, good for so many seconds.

    `secret`: open-webui's WEBUI_SECRET_KEY. `stamp`: the user's session stamp, see `stamp_of`.
    """
    now = int(time.time())
    claims = {"id": user_id, "typ": "session", "exp": now + seconds, "iat": now, "jti": str(uuid.uuid4())}
    if stamp is not None:
        claims["session_stamp"] = stamp
    signed = f"{_encoded(json.dumps(_HEADER).encode())}.{_encoded(json.dumps(claims).encode())}"
    signature = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_encoded(signature)}"


def stamp_of(database: sqlite3.Connection, user_id: str) -> str | None:
    """The session stamp of a user; None where there is none, as before open-webui 0.12."""
    columns = {str(row[1]) for row in database.execute("PRAGMA table_info(auth)")}
    if "session_stamp" not in columns:
        return None
    row = database.execute("SELECT session_stamp FROM auth WHERE id = ?", (user_id,)).fetchone()
    return str(row[0]) if row and row[0] is not None else None


def secret_in(file: Path) -> str:
    """What is in a file with a secret. Raises `Trouble`."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Trouble(f"`{file}` cannot be read: {error.strerror}") from None


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
