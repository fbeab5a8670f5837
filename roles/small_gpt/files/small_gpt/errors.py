"""The ways in which a training can end other than well. The package stands alone on a box, so it has its own tree."""

from __future__ import annotations

from typing import ClassVar


class SmallGptError(Exception):
    """Base of all expected errors: a sentence, what mends it, and the exit code it ends in."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadQuestions(SmallGptError):
    """The question-answer file breaks its own rules."""


class WrongVersions(SmallGptError):
    """The environment lacks a library or has another version than the one asked for."""


class NotLearnt(SmallGptError):
    """Training ended, and the model still does not answer every question word for word."""


class Busy(SmallGptError):
    """Another process is writing the same model."""


class Stopped(SmallGptError):
    """SIGTERM or SIGINT came; nothing was left behind."""

    exit_code = 143
