"""What goes wrong in a test, planned beforehand."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# error: the provider's own no, nothing done.        lie: answers success and does nothing.
# drop_before, drop_after: the connection ends without an answer, before or after the thing was done.
# hang: does it and keeps the answer back for `seconds` of real time, or until the client gives up.
# slow: the same, and the client shall wait.         http: answers `status` with a page, nothing done.
# garbage: answers what is no JSON; does it if `done`.  html: success as a login page of some network in between.
# act: runs `action` before or (`done`) after the thing was done, and then answers: to kill a client, to move a clock.
Kind = Literal["error", "lie", "drop_before", "drop_after", "hang", "slow", "http", "garbage", "html", "act"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, on the `nth` call (from 1) of the operation `on` ("*": any) and `times` - 1 more."""

    kind: Kind
    on: str = "*"
    nth: int = 1
    times: int = 1
    code: str = ""
    message: str = ""
    status: int = 500
    seconds: float = 0.0
    done: bool = False
    action: Callable[[], None] | None = None

    def hits(self, operation: str, call: int, call_of_operation: int) -> bool:
        """Whether it is this one's turn; `call` counts all calls, `call_of_operation` those of that operation."""
        number = call if self.on == "*" else call_of_operation
        return self.on in ("*", operation) and self.nth <= number < self.nth + self.times


class FaultPlan:
    """The faults of one test; each method plans one and returns the plan. May be used from several threads.

    Calls are counted from the start of the server, or from the last `restart`.
    """

    ALWAYS = 1 << 30

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = list(faults)
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._total = 0
        self._no_stock: list[tuple[float | None, str]] = []

    def add(self, fault: Fault) -> FaultPlan:
        """Any fault."""
        with self._lock:
            self._faults.append(fault)
        return self

    def error(self, on: str, nth: int = 1, *, times: int = 1, code: str = "", message: str = "") -> FaultPlan:
        """The provider answers an error of its own kind; nothing is done. Without a code: its internal error."""
        return self.add(Fault("error", on, nth, times, code=code, message=message))

    def lie(self, on: str, nth: int = 1, *, times: int = 1) -> FaultPlan:
        """Answers success and does nothing."""
        return self.add(Fault("lie", on, nth, times))

    def drop(self, on: str, nth: int = 1, *, times: int = 1, done: bool = True) -> FaultPlan:
        """The connection ends without an answer, after the thing was done or (`done=False`) before."""
        return self.add(Fault("drop_after" if done else "drop_before", on, nth, times))

    def hang(self, on: str, nth: int = 1, *, times: int = 1, seconds: float = 600.0) -> FaultPlan:
        """Does it, and does not answer before `seconds` of real time: the client gives up first."""
        return self.add(Fault("hang", on, nth, times, seconds=seconds))

    def slow(self, on: str, nth: int = 1, *, times: int = 1, seconds: float) -> FaultPlan:
        """Does it, and answers after `seconds` of real time."""
        return self.add(Fault("slow", on, nth, times, seconds=seconds))

    def http(self, on: str, nth: int = 1, *, times: int = 1, status: int = 500) -> FaultPlan:
        """Answers that HTTP status with a page of HTML; nothing is done."""
        return self.add(Fault("http", on, nth, times, status=status))

    def garbage(self, on: str, nth: int = 1, *, times: int = 1, done: bool = True) -> FaultPlan:
        """Answers half a JSON object with status 200."""
        return self.add(Fault("garbage", on, nth, times, done=done))

    def html(self, on: str, nth: int = 1, *, times: int = 1) -> FaultPlan:
        """Status 200 and a page of HTML, as a network's login page does; the provider never saw the call."""
        return self.add(Fault("html", on, nth, times))

    def act(self, on: str, action: Callable[[], None], nth: int = 1, *, times: int = 1, done: bool = True) -> FaultPlan:
        """Runs `action` when the thing was done and not yet answered, or (`done=False`) before it is done."""
        return self.add(Fault("act", on, nth, times, done=done, action=action))

    def no_stock(self, seconds: float | None = None, sku: str = "*") -> FaultPlan:
        """No machine of that kind for so many seconds of the simulated clock from its start; None: never."""
        with self._lock:
            self._no_stock.append((seconds, sku))
        return self

    def stock(self) -> FaultPlan:
        """Machines of all kinds again."""
        with self._lock:
            self._no_stock.clear()
        return self

    def has_stock(self, sku: str, seconds: float) -> bool:
        """Whether there is a machine of that kind so many seconds after the simulation began."""
        with self._lock:
            return not any(
                wanted in ("*", sku) and (until is None or seconds < until) for until, wanted in self._no_stock
            )

    def restart(self, faults: Iterable[Fault] = ()) -> FaultPlan:
        """Forget all faults and counts, and plan these; stock stays as it is."""
        with self._lock:
            self._faults, self._counts, self._total = list(faults), {}, 0
        return self

    def take(self, operation: str) -> list[Fault]:
        """Counts one call, and says what goes wrong with it."""
        with self._lock:
            self._total += 1
            self._counts[operation] = self._counts.get(operation, 0) + 1
            return [f for f in self._faults if f.hits(operation, self._total, self._counts[operation])]


def as_json(fault: Fault) -> dict[str, Any]:
    """For a simulator in another process; an action cannot go there."""
    assert fault.action is None
    return {name: value for name, value in asdict(fault).items() if name != "action"}


def from_json(values: Mapping[str, Any]) -> Fault:
    """Inverse of `as_json`."""
    return Fault(**values)
