"""The command line: parse, call one function of a story, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import atexit
import gc
import sys

# A backup makes a dozen objects for each file and hardly a cycle: to look for those as often as Python does by itself
# takes a tenth of its CPU time.
_OBJECTS_BETWEEN_LOOKS = 200_000


def main() -> None:
    """Entry point of `gpubox`; turns expected errors into sentences on stderr and exit codes."""
    sys.unraisablehook = _keep_interrupt
    # What is left at the end goes with the process; to look through all of it for cycles takes 30 ms.
    atexit.register(gc.freeze)
    try:
        _run()
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; what runs on a box goes on there (`gpubox ls`, `gpubox watch NAME`)\n")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our stdout has left (`gpubox logs demo | head`); Python would complain once more at exit.
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        # This machine's own disk and files: whatever a story did not foresee is still no reason for a traceback.
        from gpubox.cli.show import error_text, system_error

        sys.stderr.write(error_text(system_error(error)))
        sys.exit(1)


def _keep_interrupt(unraisable: sys.UnraisableHookArgs) -> None:
    """Have a Ctrl-C that came inside a destructor, where Python prints and drops it, come once more."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    import signal
    import threading

    # A real signal, at the main thread: it ends a sleep or a read as well.
    main_thread = threading.main_thread().ident or 0
    again = threading.Timer(0.05, signal.pthread_kill, (main_thread, signal.SIGINT))
    again.daemon = True
    again.start()


def _run() -> None:
    if sys.argv[1:2] == ["backup"]:
        from gpubox.cli import early

        early.begin(sys.argv[2:])
        gc.set_threshold(_OBJECTS_BETWEEN_LOOKS)
    import click

    from gpubox.cli.group import gpubox
    from gpubox.errors import GpuboxError

    try:
        code = gpubox(standalone_mode=False, prog_name="gpubox")
        sys.exit(code if isinstance(code, int) else 0)
    except GpuboxError as error:
        from gpubox.cli.show import error_text

        sys.stderr.write(error_text(error))
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        # Ctrl-C or the end of stdin at a question of click's own.
        raise KeyboardInterrupt from None
