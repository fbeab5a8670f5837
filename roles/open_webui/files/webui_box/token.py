"""A token by which open-webui takes whoever has its secret key for one of its users, as its own sign-in makes it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid


def sign(secret: str, user_id: str, seconds: int) -> str:
    """A JSON Web Token (HS256) for the user, good for so many seconds. `secret`: open-webui's WEBUI_SECRET_KEY."""
    now = int(time.time())
    claims = {"id": user_id, "exp": now + seconds, "iat": now, "jti": str(uuid.uuid4())}
    text = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    return f"{text}.{_encoded(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest())}"


def _part(values: dict[str, object]) -> str:
    return _encoded(json.dumps(values, separators=(",", ":")).encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
