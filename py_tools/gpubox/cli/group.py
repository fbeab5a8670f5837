"""The `gpubox` command group: one table of commands, each imported only when it runs."""

from __future__ import annotations

import importlib

import click

from gpubox import __version__

# section -> command -> (module below gpubox.cli, one line of help); `--help` prints it without importing any of them.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Start here": {
        "demo": ("demo", "The whole story on this machine: no GPU, no account."),
        "init": ("boxes", "Write a starter box file, boxes/NAME.yml."),
        "add": ("boxes", "Adopt a box that you rent, by its SSH login line."),
        "doctor": ("look", "What is wrong with this machine or a box, and how to mend it."),
    },
    "A box": {
        "up": ("boxes", "Make a box what its box file says, and follow that to the end."),
        "watch": ("boxes", "Follow the converge that runs on a box, or see how the last one ended."),
        "status": ("look", "What runs on a box: services, jobs, tunnels."),
        "logs": ("look", "The log of a service, a job or the last converge."),
        "ssh": ("look", "A shell, or one command, on a box."),
        "guard": ("guard", "When a box powers itself off, what its guard sees, and how to let the box live longer."),
        "stop": ("boxes", "Stop what runs on a box and power it off; its disk stays."),
        "start": ("boxes", "Power a box on and bring its services back."),
        "ls": ("look", "Every box that the ledger knows."),
        "backup": ("backup", "Bring home what exists only on a box: consistent, and every file proven."),
        "restore": ("backup", "Put a backup onto a box, the same or another one, every file proven."),
        "down": ("taking", "Bring home what exists only on a box, verify it, stop everything, give the box back."),
    },
    "Use it": {
        "tunnel": ("use", "The ports of a box's services on this machine."),
        "chat": ("use", "Talk to the model that a box serves."),
        "open": ("web_ui", "Open the web UI of a box in the browser."),
        "history": ("history", "The chats of the web UI as plain files, and back."),
        "bench": ("use", "Measure the engine of a box: throughput and latency over concurrency."),
    },
    "Money": {
        "offers": ("offers", "What can be rented now, and what it costs."),
        "cost": ("money", "What was spent, beside what the accounts' balances say."),
        "sweep": ("sweep", "Every box on every account, and which of them the ledger does not know."),
    },
    "More": {
        "notify": ("guard", "Where messages go: got a box, job ended, guard about to fire, money low."),
        "help": ("helps", "Exit codes, and help on a command."),
    },
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command."""
        for section in COMMANDS.values():
            if cmd_name in section:
                module = importlib.import_module(f"gpubox.cli.{section[cmd_name][0]}")
                command = getattr(module, cmd_name.replace("-", "_") + "_command")
                assert isinstance(command, click.Command)
                return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a near name for a mistyped one."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            tip = f" Did you mean `{near[0]}`?" if near else ""
            ctx.fail(f"no such command `{args[0]}`.{tip}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The sections of the table."""
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in section.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", prog_name="gpubox")
def gpubox() -> None:
    """Stand up, use and take down GPU boxes rented by the hour.

    The playbook runs on the box itself: Ctrl-C, a closed lid or a dead network change nothing there.
    """
