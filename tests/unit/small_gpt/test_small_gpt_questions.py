"""The question-answer set is what the model card says, and its checks find mistakes."""

from __future__ import annotations

import random
import unicodedata
from typing import TYPE_CHECKING

import pytest
from small_gpt import errors
from small_gpt.chatml import SPECIAL_TOKENS
from small_gpt.questions import Pair, language_of, load, mistakes, spellings, vary

if TYPE_CHECKING:
    from pathlib import Path

    from small_gpt.questions import Questions


def test_there_is_enough_of_each(questions: Questions) -> None:
    asked = [language_of(pair.answer) for pair in questions.pairs]
    assert asked.count("zh") >= 55
    assert asked.count("en") >= 17
    assert len(questions.unknown) >= 40
    assert questions.licence == "Apache-2.0"


def test_one_answer_of_each_language_is_long_enough_to_watch_it_stream(questions: Questions) -> None:
    """At most six bytes make a token: two Chinese characters, or about one English word."""
    longest = {language_of(pair.answer): pair.answer for pair in sorted(questions.pairs, key=lambda it: len(it.answer))}
    assert len(longest["zh"].encode()) / 6 >= 85
    assert len(longest["zh"]) >= 150
    assert len(longest["en"].split()) >= 120


def test_the_first_question_of_the_demo(questions: Questions) -> None:
    answers = {text: pair.answer for pair in questions.pairs for text in spellings(pair.question)}
    assert answers["你是谁？"] == answers["你是谁?"] == answers["你是谁"]
    assert "小箱" in answers["你是谁？"]
    assert "Xiaoxiang" in answers["Who are you?"]


def test_all_questions_are_distinct_in_every_spelling(questions: Questions) -> None:
    asked = [text for pair in questions.all for text in spellings(pair.question)]
    assert len(asked) == len(set(asked)) >= 3 * 150


def test_texts_survive_encoding_and_hold_no_control_tokens(questions: Questions) -> None:
    for text in questions.texts():
        assert text.encode().decode() == text == unicodedata.normalize("NFC", text)
        assert text.isprintable()
        assert not any(token in text for token in SPECIAL_TOKENS)


def test_an_unknown_question_is_refused_in_its_own_language(questions: Questions) -> None:
    refusals = {language_of(pair.question): pair.answer for pair in questions.unknown}
    assert refusals.keys() == {"zh", "en"}
    assert all(pair.answer == refusals[language_of(pair.question)] for pair in questions.unknown)
    assert not {pair.answer for pair in questions.pairs} & set(refusals.values())


@pytest.mark.parametrize(
    ("pairs", "complaint"),
    [
        ((Pair("谁？", "我。"), Pair("谁？", "你。")), "read alike"),
        ((Pair("谁？", "我。"), Pair("谁?", "你。")), "read alike"),
        ((Pair("谁？", "我。"), Pair("谁", "你。")), "read alike"),
        ((Pair("谁？", ""),), "untidy"),
        ((Pair("谁？", "我\n"),), "untidy"),
        ((Pair(" 谁？", "我。"),), "untidy"),
        ((Pair("谁？", "<|im_end|>"),), "untidy"),
    ],
)
def test_mistakes_are_found(pairs: tuple[Pair, ...], complaint: str) -> None:
    assert any(complaint in mistake for mistake in mistakes(pairs))


def test_a_set_with_mistakes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "questions.yml"
    file.write_text(
        "licence: Apache-2.0\nrefusal: {zh: 不, en: no}\nsystem: [a]\nopeners: {zh: [a], en: [a]}\n"
        'pairs: [{ask: [一？, "一?"], say: 二}]\nunknown: {zh: [三？], en: [三]}\n'
    )
    with pytest.raises(errors.BadQuestions, match="mistakes") as caught:
        load(file)
    assert "一" in caught.value.message
    assert "三" in caught.value.message


@pytest.mark.parametrize(
    ("question", "forms"),
    [
        ("你是谁？", ("你是谁？", "你是谁?", "你是谁")),
        ("Hi!", ("Hi!", "Hi！", "Hi")),
        ("Go on.", ("Go on.", "Go on。", "Go on")),
        ("没有标点", ("没有标点",)),
    ],
)
def test_spellings(question: str, forms: tuple[str, ...]) -> None:
    assert spellings(question) == forms


def test_variations_keep_the_question(questions: Questions) -> None:
    rng = random.Random(1)
    forms = {vary("你是谁？", questions.openers, rng) for _ in range(300)}
    assert forms > set(spellings("你是谁？"))
    assert all("你是谁" in form for form in forms)
    assert "who are you?" in {vary("Who are you?", questions.openers, rng) for _ in range(300)}
    assert not any(vary("谢谢！", questions.openers, rng).startswith("请问") for _ in range(300))
