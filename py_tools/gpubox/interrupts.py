"""Ctrl-C in the few moments in which it would leave something that nobody knows of."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


@contextmanager
def held_back(say: Callable[[str], None]) -> Iterator[None]:
    """Have a Ctrl-C wait for the end of the block, and raise `KeyboardInterrupt` then; `say` gets that it waits.

    The block is short: one call to a provider and what is noted of it. Signals are the main thread's: elsewhere
    nothing has to be held back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = False

    def later(_signal: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = True
        say("interrupted; ending this step first")

    before = signal.signal(signal.SIGINT, later)
    try:
        yield
    except BaseException as error:
        if came:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
