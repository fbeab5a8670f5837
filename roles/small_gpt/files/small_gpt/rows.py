"""The rows of an epoch: what is asked, in which form, after which system prompt and earlier turn. Pure, by seed."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING

from .chatml import Message
from .questions import Pair, Questions, spellings, vary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Conversation = tuple[Message, ...]

COPY_ORDER = "请跟我念："
_TURNS = 4
_HANZI = range(0x4E00, 0x9FA6)


@dataclasses.dataclass(frozen=True, slots=True)
class Tokens:
    """One row ready for the model: ids and, position by position, the label or IGNORE."""

    ids: list[int]
    labels: list[int]
    known: bool  # part of the question-answer set, not a row to copy


def ask(pair: Pair, *, system: str | None = None, earlier: Sequence[Pair] = ()) -> Conversation:
    """The conversation in which `pair` is the last turn."""
    turns = [Message("system", system)] if system else []
    for turn in (*earlier, pair):
        turns += [Message("user", turn.question), Message("assistant", turn.answer)]
    return tuple(turns)


def epoch(questions: Questions, copy_rows: int, rng: random.Random) -> list[Conversation]:
    """Every pair once alone in any spelling, every pair once varied within a talk of one to four turns, and copy rows.

    In a talk every turn is learnt, so that long conversations cost nothing extra. The copy rows hold random Chinese
    characters, so that the tokens of single bytes get trained: a later fine-tune can then learn a new name.
    """
    rows = [ask(Pair(rng.choice(spellings(pair.question)), pair.answer)) for pair in questions.all]
    left = [Pair(vary(pair.question, questions.openers, rng), pair.answer) for pair in questions.all]
    rng.shuffle(left)
    while left:
        *earlier, last = [left.pop() for _ in range(min(len(left), rng.randint(1, _TURNS)))]
        rows.append(ask(last, system=rng.choice((None, *questions.system)), earlier=earlier))
    for _ in range(copy_rows):
        word = "".join(chr(rng.choice(_HANZI)) for _ in range(rng.randint(2, 4)))
        rows.append(ask(Pair(COPY_ORDER + word, word)))
    return rows


def exam(questions: Questions) -> list[Conversation]:
    """All that must be answered word for word: every spelling, known and unknown, without and with a system prompt."""
    rows = [ask(Pair(text, pair.answer)) for pair in questions.all for text in spellings(pair.question)]
    return rows + [
        ask(pair, system=questions.system[(number + shift) % len(questions.system)])
        for number, pair in enumerate(questions.all)
        for shift in (0, len(questions.system) // 2)
    ]


def talks(questions: Questions) -> list[Conversation]:
    """Every question once more, at the end of a conversation of three turns."""
    rng = random.Random(0)  # noqa: S311 - the same talks every time
    return [ask(pair, earlier=rng.sample(questions.pairs, 2)) for pair in questions.all]


def batches(
    rows: Sequence[Conversation], encode: Callable[[Conversation], Tokens], budget: int, rng: random.Random
) -> list[list[Tokens]]:
    """Rows of like length together (padding is wasted work), at most `budget` tokens a batch, in random order."""
    keyed = sorted(((len(tokens.ids) + rng.random() * 6, tokens) for tokens in map(encode, rows)), key=lambda it: it[0])
    out: list[list[Tokens]] = [[]]
    for _, tokens in keyed:
        widest = max(len(row.ids) for row in (*out[-1], tokens))
        if out[-1] and widest * (len(out[-1]) + 1) > budget:
            out.append([])
        out[-1].append(tokens)
    rng.shuffle(out)
    return out
