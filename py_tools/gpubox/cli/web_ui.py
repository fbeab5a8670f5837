"""The web UI: `gpubox open`, and what `up` says of it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from gpubox.cli.show import ask_password, board, emit_json, json_option

if TYPE_CHECKING:
    from gpubox.web_ui import Place


@click.command(name="open")
@click.argument("name")
@click.option("--no-browser", is_flag=True, help="Only say where it is.")
@click.option("--show-password", is_flag=True, help="Print the admin's password, too, as the second line.")
@click.option(
    "--set-password", is_flag=True, help="Keep the admin's password after it was changed in the web UI; asks for it."
)
@json_option('{"name","url","email","on"}, with --show-password also "password"')
def open_command(name: str, no_browser: bool, show_password: bool, set_password: bool, as_json: bool) -> None:
    """Open the web UI of a box in the browser.

    Its tunnel stays open in the background; `gpubox tunnel NAME --stop` closes it.
    """
    from gpubox import web_ui, web_ui_home

    with board() as shown:
        place = web_ui_home.open_ui(name, board=shown)
    place = place or web_ui.open_ui(name, say=lambda words: click.echo(words, err=True))
    if set_password:
        web_ui.set_password(place, ask_password(place.email)())
        click.echo(f"kept; `gpubox up {place.name}` tells the box", err=True)
    password = web_ui.password(place.name) if show_password else None
    if as_json:
        emit_json(place.as_dict() | ({"password": password} if password is not None else {}))
    else:
        click.echo(place.url)
        if password is not None:
            click.echo(password)
        click.echo(f"sign in as {place.email}" + ("" if show_password else _where_the_password_is(name)), err=True)
    if not no_browser and not set_password:
        _show(place.url)


def tell(place: Place, *, made: bool) -> None:
    """What `up` says of a web UI: who signs in, the password once, and where it runs."""
    from gpubox import web_ui

    if made and sys.stderr.isatty():
        click.echo(
            f"sign in as {place.email} with the password {web_ui.password(place.name)}\n"
            f"  (shown this once; `gpubox open {place.name} --show-password` shows it again)",
            err=True,
        )
    else:
        # Without a terminal this would end in somebody's log.
        click.echo(f"sign in as {place.email}{_where_the_password_is(place.name)}", err=True)
    click.echo(place.why, err=True)


def _where_the_password_is(name: str) -> str:
    return f"; `gpubox open {name} --show-password` shows the password"


def _show(url: str) -> None:
    """Open the browser, where there is a screen to show one on."""
    import webbrowser

    screen = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    # A browser in the terminal would take it over, and cannot show the page anyway.
    if not screen or not webbrowser.open(url):
        click.echo("there is no browser here to open it in", err=True)
