"""The question-answer set: reading, checking, and the ways in which people spell the same question."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import BadQuestions

if TYPE_CHECKING:
    import random

Language = Literal["zh", "en"]

QUESTIONS_FILE = Path(__file__).with_name("questions.yml")

# Chinese keyboards type the left ones, everything else the right ones; the model must understand both.
_MARKS = {"？": "?", "！": "!", "。": "."}
_SWAPPED = {**_MARKS, **{half: full for full, half in _MARKS.items()}}


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """One question and the answer that belongs to it, word for word."""

    question: str
    answer: str


@dataclasses.dataclass(frozen=True, slots=True)
class Questions:
    """Everything that `questions.yml` says, with the refusals already joined to their questions."""

    licence: str
    pairs: tuple[Pair, ...]
    unknown: tuple[Pair, ...]
    system: tuple[str, ...]
    openers: dict[Language, tuple[str, ...]]

    @property
    def all(self) -> tuple[Pair, ...]:
        """Known and unknown questions together."""
        return self.pairs + self.unknown

    def texts(self) -> list[str]:
        """Every sentence once, in file order: what the tokenizer is trained on."""
        openers = [text for words in self.openers.values() for text in words]
        spoken = [text for pair in self.all for text in (*spellings(pair.question), pair.answer)]
        return list(dict.fromkeys([*spoken, *self.system, *openers]))


def load(path: Path = QUESTIONS_FILE) -> Questions:
    """Read and check the set. Raises BadQuestions naming every mistake."""
    import yaml  # lazy: finding a finished model must work on a bare Python

    raw: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    pairs = tuple(Pair(question, entry["say"]) for entry in raw["pairs"] for question in entry["ask"])
    unknown = tuple(
        Pair(question, raw["refusal"][language]) for language in ("zh", "en") for question in raw["unknown"][language]
    )
    found = mistakes(pairs + unknown)
    if found:
        raise BadQuestions(f"`{path}` has {len(found)} mistakes: {'; '.join(found)}", hint="edit the file")
    openers: dict[Language, tuple[str, ...]] = {"zh": tuple(raw["openers"]["zh"]), "en": tuple(raw["openers"]["en"])}
    return Questions(raw["licence"], pairs, unknown, tuple(raw["system"]), openers)


def mistakes(pairs: tuple[Pair, ...]) -> list[str]:
    """What is wrong with the pairs: doubles (also those that differ by a mark only), empty or untidy text."""
    found: list[str] = []
    owner: dict[str, Pair] = {}
    for pair in pairs:
        for text in (pair.question, pair.answer):
            if not text or text != text.strip() or "\n" in text or "<|" in text:
                found.append(f"untidy text {text!r}")
        for spelling in spellings(pair.question):
            other = owner.setdefault(spelling, pair)
            if other is not pair:
                found.append(f"{pair.question!r} and {other.question!r} read alike")
    return found


def language_of(text: str) -> Language:
    """`zh` when the text holds a Chinese character or mark, else `en`."""
    return "zh" if any("\u3000" <= sign <= "\u9fff" or "\uff00" <= sign <= "\uffef" for sign in text) else "en"


def spellings(question: str) -> tuple[str, ...]:
    """The forms that must all be answered: as written, with the other kind of mark, and without one."""
    mark = question[-1]
    if mark not in _SWAPPED:
        return (question,)
    return (question, question[:-1] + _SWAPPED[mark], question[:-1])


def vary(question: str, openers: dict[Language, tuple[str, ...]], rng: random.Random) -> str:
    """One of the many ways to ask the same: an opener now and then, any spelling, small first letter."""
    language = language_of(question)
    text = rng.choice(spellings(question))
    if language == "en" and rng.random() < 0.25:
        text = text[0].lower() + text[1:]
    if question.endswith(("？", "?")) and rng.random() < 0.3:
        text = rng.choice(openers[language]) + text
    return text
