"""Who fetches what next, from where, and what becomes of failures. Decides only; the clock is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from model_fetch.errors import Asked, Changed, Denied, NoRanges, Trouble, Unreachable
from model_fetch.ranges import Ranges
from model_fetch.watchdog import pause

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_fetch.listing import RemoteFile
    from model_fetch.partial import Partial
    from model_fetch.routes import Route

MIB = 2**20
# A smaller piece costs more in requests (a redirect and a handshake each) than it evens out.
_SMALLEST, _BIGGEST = 4 * MIB, 256 * MIB
# What is left of a piece is shared when it would take longer than that at its own speed.
_SHARE_BYTES, _SHARE_SECONDS = MIB, 5.0
# A connection that is silent for so long is left when another one has nothing else to do.
_SILENT_SECONDS = 5.0
# A try that brought so much is no failure: the line works.
_PROGRESS = 64 * 1024
# Failures in a row before another way is tried, and times that a file may come wrong before another source is.
_TRIES = 3


@dataclass(eq=False, slots=True)
class Piece:
    """Bytes [start, end) of a file, for one connection. `at`: how far it is; `end` shrinks when others help.

    `new`: bytes that were not there before; `differed`: bytes that were there and came differently (`compare`).
    """

    item: Item
    route: Route
    start: int
    end: int
    began: float
    at: int
    compare: bool = False
    new: int = 0
    differed: int = 0
    # When the last byte came, and what ends the connection, once there is one.
    last: float = float("inf")
    stop: Callable[[], None] | None = None


@dataclass(eq=False, slots=True)
class Item:
    """A file on its way. `compared`: of a file that came wrong, what has been fetched again in this round."""

    file: RemoteFile
    partial: Partial | None = None
    state: Literal["open", "hashing", "done"] = "open"
    busy: list[Piece] = field(default_factory=list)
    route: Route | None = None
    # In a row, since something came: by this way, and by all.
    failures: int = 0
    idle: int = 0
    failed_at: float = float("-inf")
    not_before: float = 0.0
    tried: set[Route] = field(default_factory=set)
    refused: dict[Route, Trouble] = field(default_factory=dict)
    wrong: int = 0
    compared: Ranges | None = None
    differed: int = 0
    # Once in a round, after the first bytes that differed: whether it is right by now.
    look: Literal["not yet", "soon", "taken"] = "not yet"

    @property
    def there(self) -> Ranges:
        """What need not be fetched (again)."""
        if self.compared is not None:
            return self.compared
        return self.partial.done if self.partial else Ranges()


class Board:
    """The files and the ways. Not thread-safe: `Download` holds its lock. `open_partial` makes a file's partial."""

    def __init__(
        self, files: Sequence[RemoteFile], routes: Sequence[Route], open_partial: Callable[[RemoteFile], Partial]
    ) -> None:
        # Small ones first: what is wrong with a token or a hub shows at once, and the big ones end together.
        self.items = [Item(file) for file in sorted(files, key=lambda file: (file.size > _SMALLEST, file.path))]
        self.routes = list(routes)
        self.preferred = self.routes[0]
        # None: other hubs were not asked yet; an error or a switch asks for them.
        self.others: Literal["unasked", "wanted", "asked"] = "unasked"
        self.news: list[str] = []
        self.last_error: Trouble | None = None
        self._open = open_partial
        self._first = 0

    @property
    def busy(self) -> int:
        """Connections at work."""
        return sum(len(item.busy) for item in self.items[self._first :])

    @property
    def left(self) -> int:
        """Bytes still to come."""
        return sum(item.file.size - item.there.total for item in self.items[self._first :] if item.state == "open")

    def take(self, now: float, connections: int) -> Piece | None:
        """The next piece for a connection; None when there is nothing to do just now."""
        while self._first < len(self.items) and self.items[self._first].state == "done":
            self._first += 1
        size = 0
        for item in self.items[self._first :]:
            if item.state != "open" or now < item.not_before or item.look == "soon":
                continue
            item.partial = item.partial or self._open(item.file)
            if item.compared is None and item.partial.whole:
                item.state = "hashing"
                continue
            if not size and item.file.size > _SMALLEST:
                size = min(_BIGGEST, max(_SMALLEST, self.left // (2 * max(1, connections))))
            if piece := self._piece(item, size or _SMALLEST, now):
                return piece
        return self._share(now)

    def done(self, piece: Piece) -> None:
        """A connection has ended, well or not."""
        item = piece.item
        item.busy.remove(piece)
        if item.compared is not None and piece.compare:
            item.compared.add(piece.start, piece.at)
            item.differed += piece.differed
            if piece.differed and item.look == "not yet":
                item.look = "soon"
        if self._brought(piece):
            piece.route.strikes = item.failures = item.idle = 0
            item.tried.clear()
        whole = item.partial is not None and item.partial.whole and item.there.total == item.file.size
        if (whole or item.look == "soon") and not item.busy and item.state == "open":
            item.look = "taken" if item.look == "soon" else item.look
            if item.compared is not None and item.partial:
                item.partial.again()
            item.state = "hashing"

    def failed(self, piece: Piece, error: Trouble, now: float, *, wait: float = 0.0) -> None:
        """A connection broke. Raises `Trouble` when nobody is left to ask. Call `done` before."""
        item, route = piece.item, piece.route
        self.last_error = error
        if type(error) is Trouble:
            raise error
        if isinstance(error, NoRanges):
            route.ranges = False
        elif isinstance(error, Asked) and route.branch and route.revision != route.branch:
            route.revision = route.branch
        elif isinstance(error, Asked | Denied | Changed):
            self._refuse(item, route, error, now)
        elif not self._brought(piece):
            self._strike(item, piece, error, now, wait)

    def arrived_wrong(self, item: Item, now: float) -> None:
        """All bytes are there and the checksum is another. Raises `Trouble` when nobody is left to ask."""
        if item.compared is not None and item.compared.total < item.file.size:
            item.state = "open"  # it was a look only; the round goes on
            return
        route = item.route or self.preferred
        item.wrong += 1
        # Another source that sends the very same bytes: the list is what is wrong.
        stubborn = bool(item.refused) and item.compared is not None and item.differed == 0
        if item.compared is not None and item.differed:
            self.news.append(f"`{item.file.path}`: {item.differed} bytes were wrong and came differently now")
        item.state, item.differed, item.look = "open", 0, "not yet"
        assert item.partial is not None
        if item.file.size <= 2 * _SMALLEST:
            item.compared = None
            item.partial.forget()
        else:
            item.compared = Ranges()
        if item.wrong >= _TRIES or stubborn:
            times = "the same as the source before" if stubborn else f"{item.wrong} times"
            error = Trouble(f"{route} sends other bytes for `{item.file.path}` than the hub lists, {times}")
            item.wrong = 0
            self._refuse(item, route, error, now)
        else:
            self.news.append(f"`{item.file.path}` has a wrong checksum: fetching it again to find what is wrong")

    def found(self, routes: Sequence[Route], now: float) -> None:
        """Other hubs were asked, and these have the model, too. Raises `Trouble` when it helps nobody who waits."""
        self.routes += routes
        self.others = "asked"
        for item in self.items:
            if item.state == "open" and item.not_before == float("inf"):
                item.not_before = now
                self._switch(item, now)

    def _piece(self, item: Item, size: int, now: float) -> Piece | None:
        route = item.route = item.route or self.preferred
        if route.refuses(item.file):
            item.refused[route] = Trouble(f"{route} {route.refuses(item.file)}")
            self._switch(item, now)
            return None
        compare = item.compared is not None
        if not route.ranges:
            if item.busy:
                return None
            return self._busy(Piece(item, route, 0, item.file.size, now, 0, compare))
        taken = item.there.copy()
        for piece in item.busy:
            taken.add(piece.start, piece.end)
        gap = next(taken.gaps(item.file.size), None)
        if gap is None:
            return None
        start, end = gap
        if end - start > size + size // 2:
            end = start + size
        return self._busy(Piece(item, route, start, end, now, start, compare))

    def _share(self, now: float) -> Piece | None:
        """All that a silent connection still has to do, or half of what the slowest one has."""
        longest, most = None, _SHARE_SECONDS
        for item in self.items[self._first :]:
            for piece in item.busy:
                if not piece.route.ranges or now < item.not_before or piece.at >= piece.end:
                    continue
                if piece.stop is not None and now - piece.last > _SILENT_SECONDS:
                    return self._relieve(piece, piece.stop, now)
                left, came = piece.end - piece.at, piece.at - piece.start
                if came and left > _SHARE_BYTES and (seconds := left * (now - piece.began) / came) > most:
                    longest, most = piece, seconds
        if longest is None:
            return None
        middle, end = longest.at + (longest.end - longest.at) // 2, longest.end
        longest.end = middle
        return self._busy(Piece(longest.item, longest.route, middle, end, now, middle, longest.compare))

    def _relieve(self, piece: Piece, stop: Callable[[], None], now: float) -> Piece:
        start, end = piece.at, piece.end
        piece.end = start
        stop()
        return self._busy(Piece(piece.item, piece.route, start, end, now, start, piece.compare))

    @staticmethod
    def _brought(piece: Piece) -> bool:
        """Whether it was worth it; of a server that sends whole files only, bytes that were there do not count."""
        brought = piece.at - piece.start if piece.compare else piece.new
        return brought > 0 and brought >= min(_PROGRESS, piece.end - piece.start)

    def _busy(self, piece: Piece) -> Piece:
        piece.item.busy.append(piece)
        return piece

    def _strike(self, item: Item, piece: Piece, error: Trouble, now: float, wait: float) -> None:
        # Connections that break together have one reason.
        if piece.began < item.failed_at:
            return
        item.failures += 1
        item.idle += 1
        item.failed_at = now
        item.not_before = now + max(wait, pause(item.idle))
        piece.route.strikes += 1
        if item.failures >= _TRIES:
            self.news.append(f"`{item.file.path}` from {piece.route}: {error}")
            item.tried.add(piece.route)
            item.failures = 0
            self._switch(item, now)

    def _refuse(self, item: Item, route: Route, error: Trouble, now: float) -> None:
        self.news.append(str(error))
        item.refused[route] = error
        if item.route is route:
            self._switch(item, now)

    def _switch(self, item: Item, now: float) -> None:
        """Another way for this file: one that was not tried yet, else another hub, else from the beginning."""
        old = item.route
        while ways := [way for way in self.routes if way not in item.refused and way not in item.tried]:
            reason = ways[0].refuses(item.file)
            if not reason:
                break
            item.refused[ways[0]] = Trouble(f"{ways[0]} {reason}")
        if not ways and self.others != "asked":
            self.others, item.not_before = "wanted", float("inf")
            return
        if not ways:
            item.tried.clear()
            ways = [way for way in self.routes if way not in item.refused]
        if not ways:
            raise self._nobody(item)
        item.route, item.failures = ways[0], 0
        if item.route is not old:
            item.not_before = min(item.not_before, now)
            self.news.append(f"`{item.file.path}`: going on from {item.route}")
            if old is self.preferred and old is not None and old.strikes >= _TRIES:
                self.preferred = item.route

    def _nobody(self, item: Item) -> Trouble:
        reasons = list(item.refused.values())
        for kind in (Changed, Denied, Asked):
            if found := [reason for reason in reasons if isinstance(reason, kind)]:
                return found[0]
        words = "; ".join(str(reason) for reason in reasons)
        return Unreachable(f"`{item.file.path}` cannot be had right: {words}")
