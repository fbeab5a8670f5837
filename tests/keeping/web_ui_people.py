"""People who use a web UI by its HTTP API, as the page in a browser does. Standard library only."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from typing import Any

MODEL = "small-gpt"


class Person:
    """Somebody who is signed in to the open-webui at 127.0.0.1:`port`."""

    def __init__(self, port: int, email: str, password: str) -> None:
        self._port = port
        self._token = ""
        self._token = str(self.ask("POST", "/api/v1/auths/signin", {"email": email, "password": password})["token"])

    def ask(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Any:  # noqa: ANN401
        """The answer, as JSON. Raises `RuntimeError` for anything but 200."""
        return json.loads(self.text(method, path, body, kind))

    def text(self, method: str, path: str, body: object = None, kind: str = "application/json") -> str:
        """The answer's own bytes, as text."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {"Authorization": f"Bearer {self._token}", "Content-Type": kind})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {text[:300]}")
        return text

    def adds(self, name: str, email: str, password: str) -> None:
        """Another user; only an admin may."""
        self.ask("POST", "/api/v1/auths/add", {"name": name, "email": email, "password": password, "role": "user"})

    def uploads(self, name: str, content: str) -> str:
        """Gives a file; its id."""
        head = f'--cut\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/plain'
        body = f"{head}\r\n\r\n{content}\r\n--cut--\r\n".encode()
        made = self.ask("POST", "/api/v1/files/?process=false", body, "multipart/form-data; boundary=cut")
        return str(made["id"])

    def says(self, text: str, chat: str = "", *, file: str = "", model: str = MODEL) -> str:
        """Says something, in a new chat or in `chat`, with an uploaded file; the chat's id, once it was answered."""
        parent = self.ask("GET", f"/api/v1/chats/{chat}")["chat"]["history"]["currentId"] if chat else None
        own, answer, now = str(uuid.uuid4()), str(uuid.uuid4()), int(time.time())
        said: dict[str, Any] = {
            "id": own,
            "parentId": parent,
            "childrenIds": [],
            "role": "user",
            "content": text,
            "timestamp": now,
        }
        files = [{"type": "file", "id": file, "name": "note.txt", "url": file}] if file else []
        form = {
            "model": model,
            "stream": True,
            "messages": [{"role": "user", "content": text}],
            "parent_id": parent,
            "id": answer,
            "user_message": {**said, "models": [model], **({"files": files} if files else {})},
            "message_ids": [{"model_id": model, "message_id": answer}],
            "session_id": str(uuid.uuid4()),
            **({"chat_id": chat} if chat else {}),
        }
        chat = str(self.ask("POST", "/api/chat/completions", form)["chat_id"])
        deadline = time.monotonic() + 120
        while not self.messages(chat).get(answer, {}).get("done"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"nobody answered {text!r}")
            time.sleep(0.02)
        return chat

    def messages(self, chat: str) -> dict[str, Any]:
        """The messages of a chat, by their ids."""
        found: dict[str, Any] = self.ask("GET", f"/api/v1/chats/{chat}")["chat"]["history"]["messages"]
        return found

    def chats(self) -> dict[str, str]:
        """All chats of this person, each as it comes over the line, by their ids."""
        listed = self.ask("GET", "/api/v1/chats/list")
        return {str(chat["id"]): self.text("GET", f"/api/v1/chats/{chat['id']}") for chat in listed}
