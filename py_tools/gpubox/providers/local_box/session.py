"""One exec or shell request on a local box: starts the command and carries its input and output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Protocol

import asyncssh

from gpubox.providers.local_box.terminal import run_in_terminal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CHUNK = 128 * 1024
_NOT_STARTED = 126


class _Sink(Protocol):
    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None: ...


async def serve_session(process: asyncssh.SSHServerProcess[bytes], environment: Mapping[str, str], home: str) -> None:
    """Run what the client asked for to its end and report how it ended."""
    command = process.command
    argv = [environment["SHELL"], *(["-c", command] if command is not None else ["-l"])]
    try:
        if process.term_type is not None:
            code = await run_in_terminal(process, argv, environment, home)
        else:
            code = await _run_on_pipes(process, argv, environment, home)
    except OSError as error:
        process.stderr.write(f"cannot start `{argv[0]}`: {error.strerror}\n".encode())
        code = _NOT_STARTED
    if code < 0:
        process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
    else:
        process.exit(code)


async def _run_on_pipes(
    process: asyncssh.SSHServerProcess[bytes], argv: Sequence[str], environment: Mapping[str, str], home: str
) -> int:
    """Without a terminal: three pipes. Everything was sent when the exit status goes out, so no output is lost."""
    out, out_write = os.pipe()
    err, err_write = os.pipe()
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=out_write,
            stderr=err_write,
            env=dict(environment),
            cwd=home,
            start_new_session=True,
        )
    except OSError:
        os.close(out)
        os.close(err)
        raise
    finally:
        os.close(out_write)
        os.close(err_write)
    stdout, stdout_end = await _reader(out)
    stderr, stderr_end = await _reader(err)
    feeding = asyncio.create_task(_feed(process, child))
    # A client that went away takes its pipes with it, so that the command meets a broken pipe, as under sshd.
    leaving = asyncio.create_task(_close_when_gone(process, stdout_end, stderr_end))
    try:
        await asyncio.gather(_pump(stdout, process.stdout), _pump(stderr, process.stderr))
        return await child.wait()
    finally:
        feeding.cancel()
        leaving.cancel()
        stdout_end.close()
        stderr_end.close()


async def _reader(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    stream = asyncio.StreamReader(limit=_CHUNK)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(descriptor, "rb", buffering=0)
    )
    return stream, transport


async def _pump(source: asyncio.StreamReader, sink: _Sink) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()


async def _feed(process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process) -> None:
    assert child.stdin is not None
    while True:
        try:
            data = await process.stdin.read(_CHUNK)
            if not data:
                break
            child.stdin.write(data)
            await child.stdin.drain()
        except asyncssh.SignalReceived as wanted:
            _signal_group(child.pid, wanted.signal)
        except (asyncssh.BreakReceived, asyncssh.TerminalSizeChanged):
            continue
        except (asyncssh.Error, OSError):
            break
    child.stdin.close()


async def _close_when_gone(process: asyncssh.SSHServerProcess[bytes], *ends: asyncio.BaseTransport) -> None:
    await process.channel.wait_closed()
    for end in ends:
        end.close()


def _signal_group(group: int, name: str) -> None:
    number = getattr(signal, f"SIG{name}", None)
    if isinstance(number, signal.Signals):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
