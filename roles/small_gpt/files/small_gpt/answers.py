"""Does the model know its answers? By teacher forcing for all, by really generating for some."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from .chatml import render
from .model import answer_logits
from .tokenizer import IGNORE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import Qwen3ForCausalLM

    from .rows import Conversation, Tokens
    from .tokenizer import Codec

# Servers round differently (bf16, other kernels, batching): an answer token less likely than this could flip there.
SURE = 0.5
_ROWS = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Marks:
    """The outcome of an exam.

    Rows asked, the likelihood of the least likely answer token, the rows that are not word for word, and the rows with
    a token less likely than SURE (weakest first).
    """

    total: int
    lowest_probability: float
    wrong: tuple[Conversation, ...]
    weak: tuple[Conversation, ...] = ()

    @property
    def right(self) -> int:
        """Rows answered word for word."""
        return self.total - len(self.wrong)


def recite(
    model: Qwen3ForCausalLM,
    codec: Codec,
    rows: Sequence[Conversation],
    tick: Callable[[int, int], None] = lambda _done, _all: None,
) -> Marks:
    """Mark rows by one forward pass each.

    Greedy decoding is verbatim if and only if the likeliest token is the label at every answer position, so this is as
    good as generating and several times cheaper.
    """
    ordered = sorted(rows, key=lambda row: len(render(row)))
    wrong: list[Conversation] = []
    sureness: list[tuple[float, Conversation]] = []
    for start in range(0, len(ordered), _ROWS):
        part = ordered[start : start + _ROWS]
        with torch.inference_mode():
            logits, labels, owner = answer_logits(model, [_last_answer(codec, row) for row in part], codec.pad)
            logits = logits.float()
            missed = owner[logits.argmax(-1) != labels].unique().tolist()
            likelihood = logits.softmax(-1).gather(-1, labels[:, None])[:, 0]
            lowest = torch.ones(len(part)).scatter_reduce(0, owner, likelihood, "amin").tolist()
        wrong += [part[index] for index in missed]
        sureness += zip(lowest, part, strict=True)
        tick(min(start + _ROWS, len(ordered)), len(ordered))
    sureness.sort(key=lambda it: it[0])
    return Marks(len(ordered), sureness[0][0], tuple(wrong), tuple(row for sure, row in sureness if sure < SURE))


def generate(model: Qwen3ForCausalLM, codec: Codec, rows: Sequence[Conversation]) -> list[str]:
    """The model's own greedy answers to the last question of each row, decoded token by token."""
    prompts = [codec.ids(render(row[:-1], add_generation_prompt=True)) for row in rows]
    longest = max(len(codec.ids(row[-1].content)) for row in rows)
    width = max(map(len, prompts))
    with torch.inference_mode():
        out = model.generate(
            input_ids=torch.tensor([[codec.pad] * (width - len(ids)) + ids for ids in prompts]),
            attention_mask=torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]),
            max_new_tokens=longest + 8,  # room to run past the end, which would be a mistake to see
            do_sample=False,
            eos_token_id=codec.end,
            pad_token_id=codec.pad,
        )
    return [codec.text(answer[width:]) for answer in out.tolist()]


def _last_answer(codec: Codec, row: Conversation) -> Tokens:
    tokens = codec.encode(row)
    start = len(codec.ids(render(row[:-1])))
    return dataclasses.replace(tokens, labels=[IGNORE] * start + tokens.labels[start:])
