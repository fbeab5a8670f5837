"""From a recipe to a finished model: the story of one training, in order."""

from __future__ import annotations

import copy
import dataclasses
import platform
import random
import time
from typing import TYPE_CHECKING, Any

import torch

from . import export, store
from . import questions as questions_of
from . import rows as rows_of
from .answers import Marks, generate, recite
from .errors import NotLearnt
from .machine import cores, has_bf16
from .model import build
from .tokenizer import Codec, train_tokenizer
from .training import History, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import Qwen3ForCausalLM

    from .progress import Progress
    from .recipe import Recipe
    from .rows import Conversation

_GENERATED = 24
_AT_ONCE = 6  # answers generated together: small, so that progress shows


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """The proof that a model knows its answers."""

    exam_total: int
    lowest_probability: float
    generated: int
    talks_right: int
    talks_total: int


def make(final: Path, recipe: Recipe, key: str, versions: dict[str, str], *, threads: int, progress: Progress) -> None:
    """Train, prove and publish the model under `final`. Raises NotLearnt, Busy, BadQuestions; then nothing is left."""
    began = time.monotonic()
    torch.use_deterministic_algorithms(mode=True)
    with store.writing(final) as partial:
        progress.step("tokenizer", 0, 1)
        known = questions_of.load()
        codec = Codec(train_tokenizer(known.texts(), recipe))
        model = build(recipe, codec)
        bf16 = has_bf16() if recipe.precision == "auto" else recipe.precision == "bf16"
        trainer = Trainer(model, codec, known, recipe, bf16=bf16)
        used = trainer.set_threads(threads)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        precision = "bf16" if bf16 else "fp32"
        progress.say(f"{parameters:,} parameters, {len(known.all)} questions, {used} of {cores()} threads, {precision}")
        history = trainer.run(progress)
        # Another implementation than the one that trained, and what transformers takes by itself.
        model.set_attn_implementation("sdpa")
        verdict = prove(model, codec, known, progress)
        export.save(model, codec, recipe, partial)
        facts: dict[str, object] = {
            **dataclasses.asdict(recipe),
            "precision": precision,
            "parameters": parameters,
            "pairs": len(known.pairs),
            "unknown": len(known.unknown),
            "threads": used,
            "steps": history.steps,
            "epochs": len(history.losses),
            "loss": history.losses[-1],
            "seconds": round(history.seconds, 1),
            "weights_sha256": store.sha256(partial / "model.safetensors"),
            "questions_sha256": store.sha256(questions_of.QUESTIONS_FILE),
            **dataclasses.asdict(verdict),
        }
        export.write_card(partial, {**facts, "parameters": f"{parameters:,}"})
        store.write_record(partial, key, _record(recipe, history, facts, versions, time.monotonic() - began))
    progress.say(f"`{final}` is ready: {history.seconds:.1f} s of training, {time.monotonic() - began:.1f} s in all")


def prove(model: Qwen3ForCausalLM, codec: Codec, known: questions_of.Questions, progress: Progress) -> Verdict:
    """Raises NotLearnt unless every answer is verbatim in float32 and bfloat16."""
    exam = rows_of.exam(known)
    sample = _sample(known, exam)
    lowest = 1.0
    for name, judged in (("float32", model), ("bfloat16", copy.deepcopy(model).to(torch.bfloat16))):
        marks = recite(judged, codec, exam, _tick(progress, f"exam in {name}"))
        progress.say(f"exam in {name}: {marks.right} of {marks.total} word for word")
        _demand(marks, judged, codec, name)
        lowest = min(lowest, marks.lowest_probability)
        for start in range(0, len(sample), _AT_ONCE):
            progress.step(f"generating in {name}", start, len(sample))
            part = sample[start : start + _AT_ONCE]
            answers = generate(judged, codec, part)
            wrong = tuple(row for row, answer in zip(part, answers, strict=True) if answer != row[-1].content)
            _demand(Marks(len(part), 0.0, wrong), judged, codec, f"{name}, generated")
        progress.say(f"generated in {name}: {len(sample)} of {len(sample)} word for word")
    # Told, not demanded: long talks are not its trade.
    talks = recite(model, codec, rows_of.talks(known)[::2], _tick(progress, "exam in talks"))
    progress.say(f"at the end of three turns: {talks.right} of {talks.total} word for word")
    return Verdict(len(exam), round(lowest, 3), len(sample), talks.right, talks.total)


def _sample(known: questions_of.Questions, exam: list[Conversation]) -> list[Conversation]:
    """The first question, the longest answer of each language, and a fixed random choice, sorted by length."""
    by_length = sorted(known.pairs, key=lambda pair: len(pair.answer))
    longest = {questions_of.language_of(pair.answer): pair for pair in by_length}
    chosen = [rows_of.ask(known.pairs[0]), *map(rows_of.ask, longest.values())]
    chosen += random.Random(0).sample(exam, _GENERATED - len(chosen))  # noqa: S311
    return sorted(chosen, key=lambda row: len(row[-1].content))


def _demand(marks: Marks, model: Qwen3ForCausalLM, codec: Codec, name: str) -> None:
    if not marks.wrong:
        return
    row = marks.wrong[0]
    raise NotLearnt(
        f"{len(marks.wrong)} of {marks.total} answers are not word for word ({name}); "
        f"first: {row[-2].content!r} got {generate(model, codec, [row])[0]!r}",
        hint="train longer (--epochs 32) or with another --seed",
    )


def _tick(progress: Progress, label: str) -> Callable[[int, int], None]:
    return lambda done, total: progress.step(label, done, total)


def _record(
    recipe: Recipe, history: History, facts: dict[str, object], versions: dict[str, str], seconds: float
) -> dict[str, Any]:
    names = ("precision", "parameters", "threads", "steps", "weights_sha256", "questions_sha256")
    return {
        "recipe": dataclasses.asdict(recipe),
        **{name: facts[name] for name in names},
        "tokens": history.tokens,
        "losses": history.losses,
        "seconds": {"training": round(history.seconds, 1), "all": round(seconds, 1)},
        "proof": {field.name: facts[field.name] for field in dataclasses.fields(Verdict)},
        "versions": {**versions, "python": platform.python_version()},
        "machine": {"architecture": platform.machine(), "cores": cores(), "bf16": has_bf16()},
    }
