"""Showing what happens: a tree of steps with times and live bars on a terminal, plain lines elsewhere.

A story calls `Board.step`; a renderer looks at the board. Everything goes to stderr: stdout is for data.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TextIO

from gpubox.converge.jobs import clock, job_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType
    from rich.live import Live

    from gpubox.converge.events import Story
    from gpubox.converge.jobs import Job

State = Literal["running", "done", "failed", "kept"]

# Plain output says every so often how far a job is, in seconds.
_PLAIN_EVERY = 10.0
_BAR_WIDTH = 24


@dataclass(slots=True)
class Step:
    """One line of the tree. `detail` is said beside the title, `notes` below it; times are `time.monotonic` seconds."""

    title: str
    board: Board
    state: State = "running"
    detail: str = ""
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    story: Story | None = None
    link: str | None = None

    @property
    def seconds(self) -> float:
        """How long the step took, or has taken so far."""
        return (self.ended if self.ended is not None else time.monotonic()) - self.started

    def say(self, detail: str) -> None:
        """Change what is said beside the title."""
        self.detail = detail
        self.board.changed(self)

    def follow(self, story: Story) -> None:
        """Show a converge below this step."""
        self.story = story
        self.board.changed(self)

    def lost_link(self, sentence: str | None) -> None:
        """Say that the link is lost, or (None) back."""
        self.link = sentence
        self.board.changed(self)


class Renderer(Protocol):
    """What shows a board."""

    def begin(self, board: Board) -> None: ...
    def changed(self, board: Board, step: Step) -> None: ...
    def note(self, board: Board, text: str) -> None: ...
    def end(self, board: Board) -> None: ...


class Board:
    """The steps of a story and the words between them."""

    def __init__(self, renderer: Renderer) -> None:
        self.steps: list[Step] = []
        self._renderer = renderer

    def __enter__(self) -> Board:
        self._renderer.begin(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._renderer.end(self)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """A step that is green when the block ends and red when it raises."""
        step = Step(title, self)
        self.steps.append(step)
        self.changed(step)
        try:
            yield step
        except BaseException:
            self._finish(step, "failed")
            raise
        self._finish(step, "done" if step.state == "running" else step.state)

    def note(self, text: str) -> None:
        """Say a sentence between steps."""
        self._renderer.note(self, text)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Give the terminal away for a moment: a question, a streamed answer, another program."""
        self._renderer.end(self)
        try:
            yield
        finally:
            self._renderer.begin(self)

    def changed(self, step: Step) -> None:
        """Tell the renderer."""
        self._renderer.changed(self, step)

    def _finish(self, step: Step, state: State) -> None:
        step.state, step.ended = state, time.monotonic()
        self.changed(step)


def renderer(*, quiet: bool = False, stream: TextIO | None = None) -> Renderer:
    """The renderer that suits `stream` (stderr): live on a terminal, plain lines in a pipe, nothing when `quiet`."""
    stream = stream or sys.stderr
    if quiet:
        return Silent()
    if stream.isatty():
        return LiveRenderer()
    return PlainRenderer(stream)


class Silent:
    """Shows nothing."""

    def begin(self, board: Board) -> None:
        """Nothing to begin."""

    def changed(self, board: Board, step: Step) -> None:
        """Nothing to show."""

    def note(self, board: Board, text: str) -> None:
        """Nothing to say."""

    def end(self, board: Board) -> None:
        """Nothing to end."""


class PlainRenderer:
    """One line when a step begins to wait, when a task or job moves on, and when a step ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._said: dict[str, tuple[float, str]] = {}
        self._told = 0

    def begin(self, board: Board) -> None:
        """Nothing to begin."""

    def end(self, board: Board) -> None:
        """Nothing to end."""

    def note(self, board: Board, text: str) -> None:
        """Print a sentence."""
        self._print(text)

    def changed(self, board: Board, step: Step) -> None:
        """Print what is new."""
        if step.state != "running":
            mark = {"done": "✓", "kept": "✓", "failed": "✗"}[step.state]
            self._print(f"{mark} {step.title}{_beside(step.detail)} {clock(step.seconds)}")
            return
        if step.link:
            self._once(f"link {step.title}", f"  ! {step.link}")
        if step.story is not None:
            self._story(step)
        else:
            self._once(f"step {id(step)}", f"… {step.title}{_beside(step.detail)}", every=2.0)

    def _story(self, step: Step) -> None:
        story = step.story
        if story is None:
            return
        for task in story.finished[self._told :]:
            if not task.task.startswith("Validating arguments"):
                words = "" if task.status == "ok" else f" ({task.status})"
                self._print(f"  {task.role or 'play'}: {task.task}{words} {clock(task.seconds)}")
        self._told = len(story.finished)
        for job in story.jobs.values():
            if words := _words(job):
                # That it has ended is said at once.
                every = _PLAIN_EVERY if job.state == "running" else 0.0
                self._once(f"job {job.name}", f"    {job.name}: {words}", every=every)

    def _once(self, key: str, text: str, *, every: float = 0.0) -> None:
        then, said = self._said.get(key, (float("-inf"), ""))
        now = time.monotonic()
        if text != said and now - then >= every:
            self._said[key] = (now, text)
            self._print(text)

    def _print(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class LiveRenderer:
    """A tree that rich keeps redrawing at the bottom of the terminal."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console as RichConsole

        self._console = console or RichConsole(stderr=True, highlight=False)
        self._live: Live | None = None
        self._printed = 0
        self._lock = threading.RLock()

    def begin(self, board: Board) -> None:
        """Start redrawing."""
        from rich.live import Live as RichLive

        self._live = RichLive(
            console=self._console, refresh_per_second=8, transient=True, get_renderable=lambda: self._draw(board)
        )
        self._live.start()

    def end(self, board: Board) -> None:
        """Leave the finished steps on the screen and stop redrawing."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._print_finished(board)

    def changed(self, board: Board, step: Step) -> None:
        """Print steps that have ended above the live part."""
        if step.state != "running":
            self._print_finished(board)

    def note(self, board: Board, text: str) -> None:
        """Print a sentence above the live part."""
        self._print_finished(board)
        self._console.print(text, markup=False)

    def _print_finished(self, board: Board) -> None:
        with self._lock:
            while self._printed < len(board.steps) and board.steps[self._printed].state != "running":
                self._console.print(_finished(board.steps[self._printed]))
                self._printed += 1

    def _draw(self, board: Board) -> RenderableType:
        from rich.console import Group

        return Group(*(part for step in board.steps[self._printed :] for part in _lines(step)))


def _beside(detail: str) -> str:
    return f" ({detail})" if detail else ""


def _finished(step: Step) -> RenderableType:
    from rich.text import Text

    mark, style = {"done": ("✓", "green"), "kept": ("✓", "green"), "failed": ("✗", "red")}[step.state]
    return Text.assemble(
        (f"{mark} ", style), step.title, (_beside(step.detail), "dim"), (f"  {clock(step.seconds)}", "cyan")
    )


def _lines(step: Step) -> Iterator[RenderableType]:
    from rich.spinner import Spinner
    from rich.text import Text

    head = Text.assemble(step.title, (_beside(step.detail), "dim"), (f"  {clock(step.seconds)}", "cyan"))
    yield Spinner("dots", head) if step.state == "running" else _finished(step)
    if step.link:
        yield Text(f"    ! {step.link}", style="yellow")
    story = step.story
    if story is None:
        return
    for role in story.roles.values():
        if not role.done and role.name != story.current:
            continue
        running = role.name == story.current and story.end is None
        mark = ("● ", "blue") if running else ("✓ ", "green")
        changed = f"  {role.changed} changed" if role.changed else ""
        task = f"  {role.task}" if running else ""
        yield Text.assemble("    ", mark, role.name, (f"{changed}{task}", "dim"), (f"  {clock(role.seconds)}", "cyan"))
    for job in story.jobs.values():
        yield _job_line(job, _elapsed(job, story.now), width=max(map(len, story.jobs)))


def _job_line(job: Job, elapsed: float | None, *, width: int) -> RenderableType:
    from rich.text import Text

    mark, style = {"done": ("✓", "green"), "failed": ("✗", "red"), "lost": ("✗", "red")}.get(job.state, ("▸", "blue"))
    done, total = job.progress.get("done"), job.progress.get("total")
    bar = ""
    if job.state == "running" and isinstance(done, int | float) and isinstance(total, int | float) and total:
        full = round(_BAR_WIDTH * min(1.0, done / total))
        bar = "━" * full + "╌" * (_BAR_WIDTH - full) + " "
    return Text.assemble(
        (f"      {mark} ", style),
        f"{job.name:<{width}}  ",
        (bar, "green"),
        (_words(job), "dim"),
        (f"  {clock(elapsed)}" if elapsed is not None else "", "cyan"),
        overflow="ellipsis",
        no_wrap=True,
    )


def _words(job: Job) -> str:
    if job.state in ("running", "done"):
        running = job.state == "running"
        words = job_words(job.progress, speed=job.speed() if running else None, left=job.left() if running else None)
        return words if running else " · ".join(part for part in (words, "done") if part)
    return f"{job.state}: {job_words(job.progress)}".rstrip(": ")


def _elapsed(job: Job, now: float | None) -> float | None:
    """Seconds that it has run, by the box's clock alone."""
    end = job.ended if job.ended is not None else now
    return max(0.0, end - job.started) if end is not None and job.started is not None else None
