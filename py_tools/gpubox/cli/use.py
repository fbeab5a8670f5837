"""Commands that use what a box serves: tunnel, chat, bench."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from gpubox.cli.show import board, emit_json, emit_table, json_option


@click.command(name="tunnel")
@click.argument("name", required=False)
@click.option("-d", "--detach", is_flag=True, help="Keep it open in the background.")
@click.option("--list", "list_them", is_flag=True, help="Every open tunnel of this machine.")
@click.option("--stop", "stop_them", is_flag=True, help="Close the tunnels of NAME, or all.")
@json_option('[{"name","state","since","reconnects","forwards":[{"label","local_port","remote_port"}]}]')
def tunnel_command(name: str | None, detach: bool, list_them: bool, stop_them: bool, as_json: bool) -> None:
    """The ports of a box's services on this machine.

    Bound to 127.0.0.1. A dead link is noticed within 15 s and opened again without anybody's doing; the ports stay.
    """
    from gpubox import tunnels

    if list_them:
        shown = [item.as_dict() for item in tunnels.listed(name)]
        if as_json:
            emit_json(shown)
        else:
            rows = [
                (item["name"], item["state"], part["label"], f"127.0.0.1:{part['local_port']}", str(item["reconnects"]))
                for item in shown
                for part in item["forwards"]
            ]
            emit_table(("BOX", "STATE", "SERVICE", "HERE", "RECONNECTS"), rows)
        return
    if stop_them:
        stopped = tunnels.stopped(name)
        click.echo(f"closed: {', '.join(item.name for item in stopped) or 'none was open'}", err=True)
        return
    if name is None:
        raise click.UsageError("which box? `gpubox ls` lists them")
    from gpubox import web_ui_home

    tunnel = tunnels.open_for(name, detach=detach, say=click.echo)
    with board() as progress:
        web_ui_home.follow(name, board=progress, tunnel=tunnel)
    if as_json:
        emit_json([tunnel.as_dict()])
    if detach:
        click.echo(f"open in the background; `gpubox tunnel {name} --stop` closes it", err=True)
        return
    click.echo("Ctrl-C closes it", err=True)
    _until_interrupted()


@click.command(name="chat")
@click.argument("name")
@click.argument("text", nargs=-1)
@click.option("--system", help="A system prompt.")
@click.option("--model", help="Another served model than the first.")
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True, help="0 is greedy.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer, in tokens.")
@json_option('{"model","question","answer","usage":{...},"seconds","first_token_seconds"}')
def chat_command(
    name: str,
    text: tuple[str, ...],
    system: str | None,
    model: str | None,
    temperature: float,
    max_tokens: int | None,
    as_json: bool,
) -> None:
    """Talk to the model that a box serves.

    With TEXT, or a question on stdin, it answers once; at a terminal it is a conversation with a history.
    """
    from gpubox.chats import Chat

    question = " ".join(text).strip()
    if not question and not sys.stdin.isatty():
        question = sys.stdin.read().strip()
        if not question:
            raise click.UsageError("stdin held no question")
    with Chat(name, model=model, system=system, temperature=temperature, max_tokens=max_tokens) as chat:
        if not question:
            chat.converse(_write, _think)
        elif as_json:
            emit_json(chat.answer(question))
        else:
            chat.stream(question, _write, _think)
            _write("\n")


@click.command(name="bench")
@click.argument("name")
@click.option("--concurrency", default="1,4,8", show_default=True, help="Levels, with commas.")
@click.option("--requests", type=click.IntRange(min=1), default=24, show_default=True, help="Requests per level.")
@click.option("--input-len", type=click.IntRange(min=1), default=64, show_default=True, help="Prompt, in tokens.")
@click.option("--output-len", type=click.IntRange(min=1), default=32, show_default=True, help="Answer, in tokens.")
@click.option("--results", type=click.Path(path_type=Path), help="Below which directory; ./gpubox-results by default.")
@json_option(
    '{"run","results","levels":[{"concurrency","requests","failed","output_tokens_per_s","ttft_ms":{...},...}]}'
)
def bench_command(
    name: str,
    concurrency: str,
    requests: int,
    input_len: int,
    output_len: int,
    results: Path | None,
    as_json: bool,
) -> None:
    """Measure the engine of a box: throughput and latency over concurrency.

    The client is `vllm bench serve`'s own and runs on the box, so that the tunnel is not in the figures. They are
    computed anew from its record of every request. Other engines than vLLM are measured with a client of gpubox's:
    tokens are what the engine counts, and answers as long as the engine makes them.
    """
    from gpubox.bench import run_bench
    from gpubox.bench.table import level_rows

    try:
        levels = [int(part) for part in concurrency.split(",")]
    except ValueError:
        raise click.BadParameter(f"`{concurrency}` is no list of numbers such as 1,4,8") from None
    if not levels or min(levels) < 1:
        raise click.BadParameter("each level is at least 1")
    with board() as shown:
        result = run_bench(
            name,
            board=shown,
            levels=levels,
            requests=requests,
            input_len=input_len,
            output_len=output_len,
            results=results,
        )
    if as_json:
        emit_json(result.as_dict())
        return
    head, rows = level_rows(result)
    emit_table(head, rows)
    click.echo(f"records, table and picture: {result.results}", err=True)


def _think(piece: str) -> None:
    """A reasoning model's thoughts are no part of the answer, and so not of stdout."""
    click.secho(piece, dim=True, nl=False, err=True)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _until_interrupted() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        click.echo("closing", err=True)
