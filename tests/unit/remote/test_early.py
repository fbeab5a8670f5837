"""A question that is asked while its end is still being written."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gpubox.remote.early import EarlyQuestion

if TYPE_CHECKING:
    from gpubox.remote.login import Login

    from .server import BoxServer

ECHO = """read -r word && printf '{"word": "%s"}' "$word\""""


def test_the_rest_of_the_question_follows(login: Login) -> None:
    with EarlyQuestion(login, ECHO) as question:
        assert question.answer(b"digest\n", timeout=60) == {"word": "digest"}


def test_what_is_no_answer(login: Login, server: BoxServer) -> None:
    for command in ("exit 3", "echo not json", "echo 5", f"{ECHO}; exit 1"):
        with EarlyQuestion(login, command) as question:
            assert question.answer(b"x\n", timeout=60) is None
    server.change_host_key()
    with EarlyQuestion(login, ECHO) as question:
        assert question.answer(b"x\n", timeout=60) is None


def test_a_command_that_takes_too_long_is_given_up(login: Login) -> None:
    with EarlyQuestion(login, "sleep 600") as question:
        assert question.answer(b"x\n", timeout=0.2) is None


def test_a_question_that_nobody_ends_is_ended(login: Login, server: BoxServer) -> None:
    with EarlyQuestion(login, ECHO):
        deadline = time.monotonic() + 60
        while not server.connections:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    while server.connections:
        assert time.monotonic() < deadline
        time.sleep(0.01)
