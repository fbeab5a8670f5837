#!/usr/bin/python
"""Ansible module: wait until an engine has answered a real chat completion."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gpubox_boxctl import Boxctl, BoxctlError

DOCUMENTATION = r"""
module: gpubox_ready
short_description: Wait until an engine has answered a real chat completion
description:
  - A port that is open, or a health check that says 200, is no model that answers. This asks C(/v1/chat/completions)
    until an answer with content comes back.
  - Between tries it asks C(boxctl status), and when the service has failed it fails at once, with its last lines.
  - In check mode it asks once and reports; it never fails there.
options:
  root: {description: The gpubox root on the box., type: path, required: true}
  service: {description: Name of the service that shall answer., type: str, required: true}
  url: {description: Base address of the engine, such as V(http://127.0.0.1:8000)., type: str, required: true}
  model: {description: Served name of the model., type: str, required: true}
  api_key: {description: Bearer key., type: str}
  prompt: {description: What to ask., type: str, default: "Hello"}
  expect:
    description: A word that the answer, reasoning included, has to contain; without it the engine fails at once.
    type: str
  max_tokens: {description: Longest answer., type: int, default: 16}
  timeout: {description: Seconds to wait., type: int, default: 1800}
author: gpubox developers
attributes:
  check_mode: {support: full, description: Asks once.}
  diff_mode: {support: none, description: Nothing is changed.}
"""

EXAMPLES = r"""
- name: Wait until the engine answers
  gpubox_ready:
    root: "{{ gpubox_root }}"
    service: vllm
    url: http://127.0.0.1:8000
    model: small-gpt
    timeout: 600
"""

RETURN = r"""
ready:
  description: Whether an answer with content came back.
  returned: always
  type: bool
answer:
  description: The content of the answer.
  returned: when ready
  type: str
seconds:
  description: How long the whole wait took.
  returned: always
  type: float
"""

ARGUMENTS: dict[str, Any] = {
    "root": {"type": "path", "required": True},
    "service": {"type": "str", "required": True},
    "url": {"type": "str", "required": True},
    "model": {"type": "str", "required": True},
    "api_key": {"type": "str", "no_log": True},
    "prompt": {"type": "str", "default": "Hello"},
    "expect": {"type": "str"},
    "max_tokens": {"type": "int", "default": 16},
    "timeout": {"type": "int", "default": 1800},
}

TRY_EVERY = 0.5
# One look at the service costs a process on a box that is busy starting the engine.
LOOK_EVERY = 3.0
ONE_TRY = 120.0


class PendingError(Exception):
    """The engine does not answer yet; asking again can help."""


class FinalError(Exception):
    """The engine answers, and asking again would give the same error."""


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if not module.params["url"].startswith(("http://", "https://")):
        module.fail_json(msg=f"`{module.params['url']}` is no http address")
    wait = Wait(module)
    answer = wait.once() if module.check_mode else wait.until_answered()
    module.exit_json(changed=False, ready=bool(answer), answer=answer, seconds=wait.seconds)


class Wait:
    """The wait for one service."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.wanted = module.params
        self.boxctl = Boxctl(module, module.params["root"])
        self.began = time.monotonic()
        self.last_error = "not asked yet"

    @property
    def seconds(self) -> float:
        """Seconds since the wait began."""
        return round(time.monotonic() - self.began, 1)

    def once(self) -> str:
        """One question; an empty string when no answer came."""
        try:
            return ask(self.wanted)
        except (PendingError, FinalError):
            return ""

    def until_answered(self) -> str:
        """Ask until an answer comes; ends the module when none can or the time is over."""
        looked = float("-inf")
        while True:
            try:
                return ask(self.wanted)
            except PendingError as error:
                self.last_error = str(error)
            except FinalError as error:
                self._fail(f"service `{self.wanted['service']}` does not answer: {error}")
            if time.monotonic() - looked >= LOOK_EVERY:
                self._look()
                looked = time.monotonic()
            if self.seconds >= self.wanted["timeout"]:
                limit = self.wanted["timeout"]
                self._fail(f"service `{self.wanted['service']}` gave no answer within {limit} s: {self.last_error}")
            time.sleep(TRY_EVERY)

    def _look(self) -> None:
        name = self.wanted["service"]
        try:
            service = self.boxctl.service(name)
        except BoxctlError as error:
            self._fail(str(error))
            return
        if service is None:
            self._fail(f"there is no service `{name}` on this box")
        elif service.get("state") in {"failed", "stopped"}:
            self._fail(f"service `{name}` has {service['state']}: {_reason(service)}")

    def _fail(self, message: str) -> None:
        log = self.boxctl.last_lines(self.wanted["service"])
        if log:
            message += f"\nlast lines of its log:\n{log}"
        self.module.fail_json(msg=message, stderr=log, ready=False, seconds=self.seconds)


def ask(wanted: dict[str, Any]) -> str:
    """The content of one real completion. Raises `PendingError` and `FinalError`."""
    body = {
        "model": wanted["model"],
        "messages": [{"role": "user", "content": wanted["prompt"]}],
        "temperature": 0,
        "max_tokens": wanted["max_tokens"],
    }
    request = urllib.request.Request(  # noqa: S310  (`main` lets only http addresses through)
        f"{wanted['url'].rstrip('/')}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    if wanted["api_key"]:
        request.add_header("Authorization", f"Bearer {wanted['api_key']}")
    # Without this a proxy of the box's environment would be asked for 127.0.0.1.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=min(ONE_TRY, wanted["timeout"])) as response:
            text = response.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        raise _http(error) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise PendingError(str(getattr(error, "reason", error))) from None
    answer = _content(text)
    if wanted["expect"] and wanted["expect"].lower() not in answer.lower():
        raise FinalError(f"it answers, and wrongly: `{wanted['expect']}` is not in {answer[:300]!r}")
    return answer


def _http(error: urllib.error.HTTPError) -> Exception:
    try:
        said = error.read(500).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as broken:
        said = str(broken)
    detail = f"HTTP {error.code}: {said}"
    if error.code == 401:
        return FinalError(f"{detail}; the key that was sent is not the service's `api_key`")
    if 400 <= error.code < 500 and error.code not in {408, 425, 429}:
        return FinalError(detail)
    return PendingError(detail)


def _content(text: str) -> str:
    try:
        message = json.loads(text)["choices"][0]["message"]
    except (ValueError, LookupError, TypeError):
        raise PendingError(f"no chat completion came back, but {text[:300]!r}") from None
    # A reasoning model can spend all of its tokens on its reasoning, which engines return beside the content.
    fields = ("content", "reasoning_content", "reasoning")
    said = [str(message[name]) for name in fields if isinstance(message, dict) and str(message.get(name) or "").strip()]
    if said:
        return "\n".join(said)
    raise PendingError("the completion has no content")


def _reason(service: dict[str, Any]) -> str:
    code = service.get("exit_code")
    reason = str(service.get("last_error") or "no message")
    return reason if code is None else f"{reason} (exit code {code})"


if __name__ == "__main__":
    main()
