"""A session with a terminal (PTY): window size, Ctrl-C through the line discipline, hang-up when the client is gone."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import termios
from typing import TYPE_CHECKING

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_CHUNK = 64 * 1024
# Background programs may keep the terminal open after the shell has ended; what the shell wrote is there at once.
_LAST_OUTPUT_S = 1.0
_IUTF8 = 0x4000  # not in Python's termios; the same on Linux and macOS


async def run_in_terminal(
    process: asyncssh.SSHServerProcess[bytes], argv: Sequence[str], environment: Mapping[str, str], home: str
) -> int:
    """Run `argv` on a new terminal as leader of its own session; its exit code, or minus the signal that ended it."""
    master, slave = pty.openpty()
    try:
        _resize(slave, process.term_size)
        _erase_whole_characters(slave)
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environment, "TERM": process.term_type or "dumb"},
            cwd=home,
            start_new_session=True,
            preexec_fn=_take_terminal,  # one ioctl: takes no lock that another thread could hold
        )
    except OSError:
        os.close(master)
        raise
    finally:
        os.close(slave)
    os.set_blocking(master, False)
    tasks = [
        output := asyncio.create_task(_show(process, master)),
        asyncio.create_task(_type(process, master, child.pid)),
        asyncio.create_task(_hang_up(process, child.pid)),
    ]
    try:
        code = await child.wait()
        await asyncio.wait([output], timeout=_LAST_OUTPUT_S)
        return code
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        os.close(master)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _resize(descriptor: int, size: tuple[int, int, int, int]) -> None:
    columns, rows, width, height = size
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows or 24, columns or 80, width, height))


def _erase_whole_characters(descriptor: int) -> None:
    """Backspace at a plain prompt takes a whole UTF-8 character, not its last byte."""
    attributes = termios.tcgetattr(descriptor)
    attributes[0] |= _IUTF8
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)


async def _show(process: asyncssh.SSHServerProcess[bytes], master: int) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(asyncssh.Error, OSError):  # EIO: the last program has closed the terminal
        while True:
            await _until(master, loop.add_reader, loop.remove_reader)
            data = os.read(master, _CHUNK)
            if not data:
                return
            process.stdout.write(data)
            await process.stdout.drain()


async def _type(process: asyncssh.SSHServerProcess[bytes], master: int, group: int) -> None:
    """Client to terminal. The end of the client's input alone is no hang-up."""
    while True:
        try:
            data = await process.stdin.read(_CHUNK)
            if not data:
                return
            await _write(master, data)
        except asyncssh.TerminalSizeChanged as change:
            _resize(master, change.term_size)
        except asyncssh.SignalReceived as wanted:
            _signal_group(group, getattr(signal, f"SIG{wanted.signal}", None))
        except asyncssh.BreakReceived:
            _signal_group(group, signal.SIGINT)
        except (asyncssh.Error, OSError):
            return


async def _write(master: int, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    while data:
        try:
            data = data[os.write(master, data) :]
        except BlockingIOError:  # the program does not read: the queue of a terminal holds 4 KiB
            await _until(master, loop.add_writer, loop.remove_writer)


async def _until(
    descriptor: int, add: Callable[[int, Callable[[], None]], None], remove: Callable[[int], bool]
) -> None:
    """Wait until `descriptor` can be read or written, as `add` and `remove` (the loop's own functions) say."""
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def is_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    add(descriptor, is_ready)
    try:
        await ready
    finally:
        remove(descriptor)


async def _hang_up(process: asyncssh.SSHServerProcess[bytes], group: int) -> None:
    await process.channel.wait_closed()
    _signal_group(group, signal.SIGHUP)


def _signal_group(group: int, number: int | None) -> None:
    if number is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
