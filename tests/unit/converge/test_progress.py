"""What a story shows: on a terminal, in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from gpubox.converge.events import Message, Story
from gpubox.converge.jobs import job_words
from gpubox.converge.progress import Board, LiveRenderer, PlainRenderer


def story() -> Story:
    told = Story()
    for line in (
        '{"type":"event","offset":1,"event":{"event":"play","tasks":2}}',
        '{"type":"event","offset":2,"event":{"event":"task","id":"a","name":"base : Make directories","role":"base"}}',
        '{"type":"event","offset":3,"event":{"event":"result","id":"a","status":"changed","s":0.2}}',
        '{"type":"event","offset":4,"event":{"event":"task","id":"b","name":"vllm : Wait","role":"vllm"}}',
        '{"type":"job","name":"train","progress":{"label":"epoch 2","done":42,"total":336,"unit":"step","loss":1.234}}',
    ):
        message = Message.parse(line)
        assert message is not None
        told.take(message)
    return told


def test_plain_lines() -> None:
    out = io.StringIO()
    with Board(PlainRenderer(out)) as board:
        with board.step("bundle") as step:
            step.say("240 KiB sent")
        with board.step("converge") as step:
            step.follow(story())
            step.lost_link("the link is gone")
        board.note("a word")
    text = out.getvalue()
    assert "✓ bundle (240 KiB sent) 0.0 s" in text
    assert "  base: Make directories (changed) 0.2 s" in text
    assert "train: epoch 2 · 42 of 336 step · loss 1.23" in text
    assert "! the link is gone" in text
    assert text.endswith("a word\n")


def test_a_failing_step_is_red_and_the_error_goes_on() -> None:
    out = io.StringIO()
    board = Board(PlainRenderer(out))
    with pytest.raises(ValueError, match="x"), board.step("bundle"):
        raise ValueError("x")
    assert "✗ bundle" in out.getvalue()
    assert board.steps[0].state == "failed"


def test_a_terminal_sees_roles_jobs_and_bars() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, record=True)
    renderer = LiveRenderer(console)
    board = Board(renderer)
    with board, board.step("converge") as step:
        step.follow(story())
        console.print(renderer._draw(board))
    text = console.export_text()
    assert "✓ base  1 changed" in text
    assert "● vllm  Wait" in text
    assert "▸ train  ━━━╌" in text
    assert "42 of 336 step" in text


def test_job_words_without_figures() -> None:
    assert job_words({"label": "resolving"}) == "resolving"
    assert job_words({}) == ""
