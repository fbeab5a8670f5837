"""ChatML: the template that servers apply, and the same thing as segments that say which text the model learns."""

from __future__ import annotations

import dataclasses
from typing import Literal

PAD = "<|endoftext|>"
START = "<|im_start|>"
END = "<|im_end|>"
SPECIAL_TOKENS = (PAD, START, END)

TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)

Role = Literal["system", "user", "assistant"]


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the rendered text; `learn` marks what the loss is taken on."""

    text: str
    learn: bool


def segments(messages: tuple[Message, ...]) -> tuple[Segment, ...]:
    """The rendered conversation in stretches: every answer with its end mark is learnt, the rest is context."""
    out: list[Segment] = []
    for message in messages:
        out.append(Segment(f"{START}{message.role}\n", learn=False))
        out.append(Segment(message.content + END, learn=message.role == "assistant"))
        out.append(Segment("\n", learn=False))
    return tuple(out)


def render(messages: tuple[Message, ...], *, add_generation_prompt: bool = False) -> str:
    """What TEMPLATE renders."""
    text = "".join(segment.text for segment in segments(messages))
    return text + f"{START}assistant\n" if add_generation_prompt else text
