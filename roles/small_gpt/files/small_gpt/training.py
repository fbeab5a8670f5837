"""The training loop: AdamW, a cosine, loss on the answers only, and an early end when everything is known."""

from __future__ import annotations

import dataclasses
import math
import random
import time
from typing import TYPE_CHECKING

import torch

from . import rows as rows_of
from .answers import recite
from .machine import Threads
from .model import answer_logits

if TYPE_CHECKING:
    from transformers import Qwen3ForCausalLM

    from .progress import Progress
    from .questions import Questions
    from .recipe import Recipe
    from .rows import Conversation, Tokens
    from .tokenizer import Codec

# A cheap sign that the exam is worth sitting: mean loss of an epoch on the questions.
_LOSS_WORTH_AN_EXAM = 0.005
_WARM_UP_EPOCHS = 2
_FLOOR = 0.02
# After the last epoch, while an answer is not sure: as many epochs more as this share, at this share of the peak rate.
_EXTRA = 1 / 3
_EXTRA_PACE = 0.1
_REVISED = 64  # rows that are asked again in the next epoch, at most


@dataclasses.dataclass(slots=True)
class History:
    """What happened: a loss per epoch (on the questions, without rows to copy), steps, padded tokens, seconds."""

    losses: list[float] = dataclasses.field(default_factory=list)
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0


class Trainer:
    """Trains one model on one question-answer set."""

    def __init__(
        self, model: Qwen3ForCausalLM, codec: Codec, questions: Questions, recipe: Recipe, *, bf16: bool
    ) -> None:
        self.model, self.codec, self.questions, self.recipe, self.bf16 = model, codec, questions, recipe, bf16
        self._revise: tuple[Conversation, ...] = ()
        self._threads = Threads(1, self._speed)
        self._rng = random.Random(recipe.seed)  # noqa: S311 - reproducible, not secret
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay, fused=True
        )

    def set_threads(self, asked: int) -> int:
        """Set torch's threads; when several are asked for, time a few steps with one, without touching the weights."""
        self._threads = Threads(asked, self._speed)
        torch.set_num_threads(self._threads.count)
        return self._threads.count

    def run(self, progress: Progress) -> History:
        """Train until every answer is sure: a little less than the epochs asked for, or up to a third more."""
        history, began = History(), time.monotonic()
        self.model.train()
        for number in range(1, self.recipe.epochs + int(self.recipe.epochs * _EXTRA) + 1):
            loss = self._epoch(number, history, progress, began)
            history.seconds = time.monotonic() - began
            progress.say(f"{self._label(number)}: loss {loss:.4f}, {history.steps} steps, {history.seconds:.1f} s")
            if loss < _LOSS_WORTH_AN_EXAM or number >= self.recipe.epochs:
                self._revise = self._weak_rows()[:_REVISED]
                progress.say(f"exam: {len(self._revise) or 'no'} answers are not sure yet")
                if not self._revise:
                    break
        history.seconds = time.monotonic() - began
        self.model.eval()
        return history

    def _step(self, batch: list[Tokens], progress: Progress) -> float | None:
        began = time.perf_counter()
        loss = self._backward(batch)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._threads.watch(width_of(batch), time.perf_counter() - began):
            torch.set_num_threads(1)
            progress.say("several threads have become slower than one (the cores are shared): going on with one")
        return loss

    def _epoch(self, number: int, history: History, progress: Progress, began: float) -> float:
        conversations = [*rows_of.epoch(self.questions, self.recipe.copy_rows, self._rng), *self._revise]
        plan = rows_of.batches(conversations, self.codec.encode, self.recipe.batch_tokens, self._rng)
        # Epochs differ by a step or two, so this is a forecast.
        expected = history.steps + len(plan) * (1 + max(0, self.recipe.epochs - number))
        losses: list[float] = []
        for index, batch in enumerate(plan):
            for group in self._optimizer.param_groups:
                group["lr"] = self.recipe.learning_rate * pace(number - 1 + index / len(plan), self.recipe.epochs)
            loss = self._step(batch, progress)
            losses += [] if loss is None else [loss]
            history.steps += 1
            history.tokens += width_of(batch)
            speed = history.tokens / max(time.monotonic() - began, 1e-3)
            numbers = {"loss": round(losses[-1], 4)} if losses else {}
            progress.step(self._label(number), history.steps, expected, **numbers, tokens_per_s=round(speed))
        history.losses.append(round(sum(losses) / len(losses), 5))
        return history.losses[-1]

    def _label(self, number: int) -> str:
        return f"epoch {number} of {max(number, self.recipe.epochs)}"

    def _backward(self, batch: list[Tokens]) -> float | None:
        """One pass; the mean loss on the questions of the batch, None when it holds only rows to copy."""
        with self._precision():
            logits, labels, owner = answer_logits(self.model, batch, self.codec.pad)
        losses = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")
        losses.mean().backward()
        known = torch.tensor([row.known for row in batch])[owner]
        return float(losses.detach()[known].mean()) if known.any() else None

    def _weak_rows(self) -> tuple[Conversation, ...]:
        self.model.eval()
        with self._precision():
            marks = recite(self.model, self.codec, rows_of.exam(self.questions))
        self.model.train()
        return marks.weak

    def _precision(self) -> torch.autocast:
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16)

    def _speed(self, threads: int) -> float:
        """Tokens per second of a few passes with that many threads."""
        alone = [rows_of.ask(pair) for pair in self.questions.pairs]
        probe = rows_of.batches(alone, self.codec.encode, self.recipe.batch_tokens, random.Random(0))[:3]  # noqa: S311
        torch.set_num_threads(threads)
        self._backward(probe[0])  # the first pass pays for the thread pool
        began = time.perf_counter()
        for batch in probe:
            self._backward(batch)
        seconds = time.perf_counter() - began
        self._optimizer.zero_grad(set_to_none=True)
        return sum(map(width_of, probe)) / seconds


def pace(position: float, epochs: int) -> float:
    """The share of the peak learning rate at a position in epochs: up, half a cosine down to 2 %, extra time."""
    if position >= epochs:
        return _EXTRA_PACE
    if position < _WARM_UP_EPOCHS:
        return _FLOOR + (1 - _FLOOR) * position / _WARM_UP_EPOCHS
    turn = math.pi * (position - _WARM_UP_EPOCHS) / max(1, epochs - _WARM_UP_EPOCHS)
    return _FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(turn))


def width_of(batch: list[Tokens]) -> int:
    """Tokens of a batch with its padding."""
    return len(batch) * max(len(row.ids) for row in batch)
