"""The one connection of a backup that lists, hashes and copies on the box; opened again when it breaks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from gpubox.errors import LinkLost, Unreachable
from gpubox.remote.transfer_fetch import PAUSES
from gpubox.remote.transfer_session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from gpubox.remote.login import Login
    from gpubox.remote.transfer_fetch import Fetch
    from gpubox.remote.transfer_item import Item
    from gpubox.remote.transfer_line import Shared

_T = TypeVar("_T")


class Control:
    """Every request may be made twice, so a lost link is tried again. Raises what `Session` raises.

    `shared`: a login whose first line nobody uses yet. `streams`: small files come unasked, and wait for `stream`.
    """

    def __init__(self, login: Login, root: str, shared: Shared | None = None) -> None:
        self.streams = False
        self._login = login
        self._root = root
        self._opens = shared
        self._session: Session | None = Session(login, root, line=shared.first if shared is not None else None)

    def __enter__(self) -> Control:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask for something that is answered by one object."""
        return self._tried(lambda session, _: session.call(request))

    def list(self, request: dict[str, Any], *, small: int | None, channels: int) -> dict[str, Any]:
        """Ask for the list, and on a shared login have the box answer so many further channels.

        With `small` the listed files up to that size follow over all of them without being asked for, when the line
        holds: who then has to ask would wait for a round trip.
        """
        session, shared, self._opens = self._session, self._opens, None
        if session is not None and shared is not None:
            try:
                return self._list_and_open(session, shared, request, {"small": small, "count": channels})
            except (LinkLost, Unreachable):
                shared.serves(yes=False)
                self._close()
        return self.call(request)

    def stream(self, fetch: Fetch, files: Mapping[int, Item]) -> None:
        """Take what comes unasked: `files` by their number in the list."""
        self.streams = False
        try:
            fetch.stream(files, self._session)
        except (LinkLost, Unreachable):
            self._close()

    def hashes(
        self,
        files: Sequence[tuple[str, int | None]],
        on_answer: Callable[[int, dict[str, Any]], None],
        *,
        fresh: bool = False,
    ) -> None:
        """Have files hashed up to a size, or all of them; `on_answer` gets the number of each and what the box says.

        `fresh`: read them, whatever is remembered. The answer has `sha256`, `size` and `version`, or `error`.
        """
        left = list(range(len(files)))

        def ask(session: Session, progress: Callable[[], None]) -> None:
            asked = list(left)
            request = {"do": "hash", "fresh": fresh, "files": [files[number] for number in asked]}
            for answer in session.answers(request):
                number = asked[answer["i"]]
                left.remove(number)
                progress()
                on_answer(number, answer)

        if left:
            self._tried(ask)

    def finish(self, fetch: Fetch) -> None:
        """Have this connection fetch, too, until everything is here."""
        lent, self._session = self._session, None
        try:
            self._session = fetch.finish(lent)
        except BaseException:
            if lent is not None:
                lent.close()
            raise

    def _list_and_open(
        self, session: Session, shared: Shared, request: dict[str, Any], channels: dict[str, Any]
    ) -> dict[str, Any]:
        session.ask({"do": "listen", "path": shared.there})
        session.ask(request)
        session.ask({"do": "channels", **channels})
        # What does not listen is one for which `ssh` has to open channels.
        shared.serves(yes="error" not in session.object())
        answer = session.checked(session.object())
        if channels["small"] is None:
            session.checked(session.object())
        else:
            self.streams = True
        return answer

    def _tried(self, once: Callable[[Session, Callable[[], None]], _T]) -> _T:
        tries = 0

        def progress() -> None:
            nonlocal tries
            tries = 0

        while True:
            if self._session is None:
                self._session = Session(self._login, self._root)
            try:
                return once(self._session, progress)
            except (LinkLost, Unreachable):
                self._close()
                if tries == len(PAUSES):
                    raise
                time.sleep(PAUSES[tries])
                tries += 1

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
