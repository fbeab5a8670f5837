"""A converge's messages fold into a story."""

from __future__ import annotations

import json

from gpubox.converge.events import Message, Story


def event(offset: int, **data: object) -> Message:
    message = Message.parse(json.dumps({"type": "event", "offset": offset, "event": data}))
    assert message is not None
    return message


def test_roles_tasks_and_offset() -> None:
    story = Story()
    story.take(event(10, event="play", name="up", tasks=3))
    story.take(event(20, event="task", id="a", name="base : Make directories", role="base"))
    story.take(event(30, event="result", id="a", host="localhost", status="changed", s=0.5))
    story.take(event(40, event="task", id="b", name="vllm : Wait", role="vllm"))
    assert (story.tasks_done, story.tasks_total, story.changed, story.offset) == (1, 3, 1, 40)
    assert story.roles["base"].changed == 1
    assert story.roles["base"].seconds == 0.5
    assert (story.current, story.roles["vllm"].task) == ("vllm", "Wait")
    assert story.failure is None


def test_a_failed_task_is_kept_with_role_task_and_stderr() -> None:
    story = Story()
    story.take(event(1, event="task", id="a", name="vllm : Start it", role="vllm"))
    story.take(event(2, event="result", id="a", host="h", status="failed", s=1.0, msg="no", stderr="out of memory"))
    assert story.failure is not None
    assert (story.failure.role, story.failure.task) == ("vllm", "Start it")
    assert (story.failure.message, story.failure.stderr) == ("no", "out of memory")


def test_an_ignored_failure_is_none() -> None:
    story = Story()
    story.take(event(1, event="task", id="a", name="x", role=None))
    story.take(event(2, event="result", id="a", host="h", status="ignored", s=1.0, msg="no"))
    assert story.failure is None


def test_what_a_role_says_although_all_is_well_is_kept() -> None:
    story = Story()
    story.take(event(1, event="task", id="a", name="ktransformers : Say that it lies unevenly", role="ktransformers"))
    story.take(event(2, event="result", id="a", host="h", status="ok", s=0.1, msg="node 0 has it all"))
    story.take(event(3, event="result", id="a", host="h", status="ok", s=0.1))
    assert story.warnings == ["node 0 has it all"]
    assert story.failure is None


def test_jobs_and_end() -> None:
    story = Story()
    for line in (
        '{"type":"job","name":"train","progress":{"done":1,"total":4}}',
        '{"type":"heartbeat","t":1}',
        '{"type":"end","state":"done","exit_code":0}',
    ):
        message = Message.parse(line)
        assert message is not None
        story.take(message)
    assert {name: job.progress for name, job in story.jobs.items()} == {"train": {"done": 1, "total": 4}}
    assert story.end is not None
    assert story.end["state"] == "done"


def test_lines_that_are_no_messages_are_passed_over() -> None:
    for line in ("", "Welcome to AutoDL", "{", "[1]", '{"event": 1}', '{"type": 3}'):
        assert Message.parse(line) is None
