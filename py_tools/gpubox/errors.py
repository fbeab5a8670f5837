"""Every error gpubox raises on purpose: what happened, where, how to mend it, and the exit code it ends in.

The codes are the command line's contract (`gpubox help exit-codes`): 0 done, 1 failed, 2 usage or bad input,
3 refused to protect data or money, 4 auth, 5 no stock, timeout or out of reach, 130 Ctrl-C.
"""

from __future__ import annotations

from typing import ClassVar


class GpuboxError(Exception):
    """Base of all expected errors.

    `message` says what happened, `where` names the place (file, line, field, or box), `hint` is the command or change
    that mends it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint


class UsageError(GpuboxError):
    """The command line, a box file or another input is wrong."""

    exit_code = 2


class BoxFileError(UsageError):
    """A box file has mistakes; the message lists all of them."""


class UnknownBox(UsageError):
    """No box of that name is in the ledger."""


class UnknownTemplate(UsageError):
    """No starter box file of that name."""


class BadSshLine(UsageError):
    """A pasted login line cannot be read."""


class UnknownRegion(UsageError):
    """A provider has no region of that name; `known` are those that it has."""

    def __init__(
        self, message: str, *, where: str | None = None, hint: str | None = None, known: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.known = known


class NotYet(UsageError):
    """The box file asks for something that this version cannot bring about."""


class Refused(GpuboxError):
    """Going on could cost data or money."""

    exit_code = 3


class CannotStop(Refused):
    """A running box that can only be given back, not powered off with its disk kept."""


class AuthFailed(GpuboxError):
    """A password, key or token was not accepted."""

    exit_code = 4


class HostKeyChanged(AuthFailed):
    """The box shows another host key than the pinned one."""


class Unreachable(GpuboxError):
    """A box, port or service cannot be reached or did not answer in time."""

    exit_code = 5


class LinkLost(Unreachable):
    """The connection to a box broke in the middle of something."""


class NoStock(GpuboxError):
    """The provider has no machine of the wanted kind."""

    exit_code = 5


class Failed(GpuboxError):
    """Something was tried and did not work."""


class PreflightBlocked(Failed):
    """The box cannot become what its box file says."""


class ConvergeFailed(Failed):
    """The playbook ended with a failed task."""


class RemoteCommandFailed(Failed):
    """A command on a box ended with another exit code than 0."""


class TransferFailed(Failed):
    """A file did not arrive whole."""
