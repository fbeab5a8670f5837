"""What a converge waited for: the longest chain of jobs and tasks, found backwards from its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubox.converge.jobs import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubox.converge.events import Finished, Span, Story

# A link that took less of the whole is told together with the others of its kind.
_SHARE = 0.05
# Shorter converges need no explanation, in seconds.
WORTH_TELLING = 30.0

# What would shorten a link, by the beginning of its name. The first that fits is told.
_ADVICE = (
    (
        "model-",
        "keep it on a disk that outlives the box, or fetch it before the GPU costs money (`prepare: without-gpu`)",
    ),
    ("env-", "a package index near the box (`python_env.index_url`); the box's own cache serves the next time"),
    ("flash-attn", "a version that has a wheel; what was built goes home with `gpubox backup` and serves the next box"),
    ("build-", "what was built goes home with `gpubox backup` and serves the next box of the same kind"),
    ("source-", "a mirror of GitHub near the box (`ktransformers.git_mirror`)"),
    ("cuda-", "an image that has the CUDA toolkit already"),
    ("train-small-gpt", "`small_gpt.threads` where cores are idle"),
    ("ollama-", "models that lie on the data disk already are not pulled again"),
    ("Wait until the model has answered", "a smaller model loads sooner; the second start finds compiled kernels"),
)


@dataclass(frozen=True, slots=True)
class Link:
    """One part of the chain: a job, or a task of the playbook. `seconds`: how long the rest had to wait for it."""

    name: str
    seconds: float
    job: bool = False
    role: str | None = None

    @property
    def title(self) -> str:
        """As people read it."""
        return self.name if self.job or not self.role else f"{self.role}: {self.name}"


@dataclass(frozen=True, slots=True)
class Chain:
    """The links in the order in which they happened, and how long all of it took, in seconds."""

    links: tuple[Link, ...]
    seconds: float

    @property
    def main(self) -> tuple[Link, ...]:
        """The links that took a noticeable share."""
        return tuple(link for link in self.links if link.seconds >= _SHARE * self.seconds)

    @property
    def advice(self) -> str | None:
        """What would shorten the longest link; None when nothing is known about it."""
        longest = max(self.links, key=lambda link: link.seconds, default=None)
        if longest is None:
            return None
        return next((words for start, words in _ADVICE if longest.name.startswith(start)), None)

    def as_dict(self) -> dict[str, object]:
        """For `--json`: seconds, links (name, job, seconds), advice."""
        links = [{"name": link.title, "job": link.job, "seconds": round(link.seconds, 3)} for link in self.main]
        return {"seconds": round(self.seconds, 3), "links": links, "advice": self.advice}

    def words(self) -> str:
        """One line: `model-Qwen3-8B-AWQ 6:12 min → vllm: Wait until the model has answered 1:31 min`."""
        main = self.main
        rest = self.seconds - sum(link.seconds for link in main)
        parts = [f"{link.title} {clock(link.seconds)}" for link in main]
        return " → ".join(parts) + (f" (and {clock(rest)} of other work)" if rest >= 1 else "")


def longest_chain(story: Story) -> Chain | None:
    """The chain that decided how long the converge took; None when its times are not known.

    Backwards from the end: whoever waited for a job hands over to the job, from its end to its start; work that went on
    beside the job is passed over.
    """
    tasks = [task for task in story.finished if task.began is not None]
    if not tasks or tasks[-1].ended is None:
        return None
    begun = story.begun if story.begun is not None else tasks[0].began
    end = tasks[-1].ended
    if begun is None or end <= begun:
        return None
    links = tuple(reversed(list(_backwards(tasks, end, begun))))
    return Chain(links, end - begun)


def _backwards(tasks: list[Finished], at: float, begun: float) -> Iterator[Link]:
    for task in reversed(tasks):
        if task.began is None or task.ended is None or task.began >= at:
            continue
        job = _awaited(task)
        if job is not None and job.ended > task.began:
            # Of a converge that was attached to, or of one before, a job may be older than the run.
            start = max(job.started, begun)
            yield Link(job.name, max(0.0, min(job.ended, at) - start), job=True)
            at = min(at, start)
        else:
            yield Link(task.task, min(task.ended, at) - task.began, role=task.role)
            at = task.began


def _awaited(task: Finished) -> Span | None:
    """The job that a task waited for: the last of its jobs to end, if that was while the task ran."""
    over = [job for job in task.jobs if task.ended is not None and job.ended <= task.ended + 1.0]
    return max(over, key=lambda job: job.ended, default=None)
