"""What is learnt of a conversation, and the rows of an epoch: pure, by seed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import jinja2
import pytest
from small_gpt import rows
from small_gpt.chatml import TEMPLATE, Message, render, segments
from small_gpt.questions import Pair, spellings

if TYPE_CHECKING:
    from small_gpt.questions import Questions
    from small_gpt.rows import Conversation

TALK = (
    Message("system", "要有礼貌。"),
    Message("user", "一？"),
    Message("assistant", "二。"),
    Message("user", "three?"),
    Message("assistant", "four."),
)


@pytest.mark.parametrize("length", range(1, len(TALK) + 1))
@pytest.mark.parametrize("prompt", [True, False])
def test_training_renders_as_the_template_that_servers_apply(length: int, prompt: bool) -> None:
    messages = [{"role": message.role, "content": message.content} for message in TALK[:length]]
    # The settings with which transformers and vLLM compile chat templates.
    served = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE)
    assert served.render(messages=messages, add_generation_prompt=prompt) == render(
        TALK[:length], add_generation_prompt=prompt
    )


def test_only_answers_and_their_end_are_learnt() -> None:
    assert [part.text for part in segments(TALK) if part.learn] == ["二。<|im_end|>", "four.<|im_end|>"]


def test_an_epoch_asks_every_pair_alone_and_in_a_talk(questions: Questions) -> None:
    epoch = rows.epoch(questions, copy_rows=5, rng=random.Random(3))
    answers = [message.content for row in epoch for message in row if message.role == "assistant"]
    assert len(answers) == 2 * len(questions.all) + 5
    alone = {row[0].content: row[1].content for row in epoch[: len(questions.all)]}
    for pair in questions.all:
        assert [alone[text] for text in spellings(pair.question) if text in alone] == [pair.answer]
    talks = epoch[len(questions.all) : -5]
    turns = {sum(message.role == "user" for message in row) for row in talks}
    assert turns == {1, 2, 3, 4}
    assert any(row[0].role == "system" for row in talks)


def test_copy_rows_ask_for_what_they_answer(questions: Questions) -> None:
    for asked, answered in rows.epoch(questions, copy_rows=20, rng=random.Random(3))[-20:]:
        assert asked.content == rows.COPY_ORDER + answered.content
        assert 2 <= len(answered.content) <= 4


def test_the_same_seed_gives_the_same_rows(questions: Questions) -> None:
    first, again, other = (rows.epoch(questions, 8, random.Random(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_exam_asks_every_spelling_and_with_system_prompts(questions: Questions) -> None:
    exam = rows.exam(questions)
    assert len(exam) == len(set(exam))
    plain = {row[0].content for row in exam if len(row) == 2}
    assert plain == {text for pair in questions.all for text in spellings(pair.question)}
    prompted = [row for row in exam if row[0].role == "system"]
    assert len(prompted) == 2 * len(questions.all)
    assert {row[0].content for row in prompted} == set(questions.system)


def test_talks_end_with_every_question(questions: Questions) -> None:
    talks = rows.talks(questions)
    assert [row[-2].content for row in talks] == [pair.question for pair in questions.all]
    assert {len(row) for row in talks} == {6}


def test_batches_hold_every_row_once_and_keep_to_the_budget() -> None:
    def encode(row: Conversation) -> rows.Tokens:
        length = len(render(row))
        return rows.Tokens([length] * length, [length] * length, known=True)

    asked = [rows.ask(Pair("问" * count, "答")) for count in (1, 2, 3, 30, 31, 200, 2, 1)]
    batches = rows.batches(asked, encode, budget=200, rng=random.Random(0))
    lengths = sorted(len(row.ids) for batch in batches for row in batch)
    assert lengths == sorted(len(encode(row).ids) for row in asked)
    assert all(len(batch) == 1 or len(batch) * max(len(row.ids) for row in batch) <= 200 for batch in batches)
    assert len(batches) < len(asked)
