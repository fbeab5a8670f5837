"""Writes the trained model so that transformers 4.57 and 5, vLLM and people can read it."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import TYPE_CHECKING

from .chatml import TEMPLATE

if TYPE_CHECKING:
    from transformers import Qwen3ForCausalLM

    from .recipe import Recipe
    from .tokenizer import Codec

_CARD = Path(__file__).with_name("model_card.md")


def save(model: Qwen3ForCausalLM, codec: Codec, recipe: Recipe, directory: Path) -> None:
    """Weights, configuration, tokenizer and chat template into an existing directory."""
    model.save_pretrained(directory)
    codec.tokenizer.save_pretrained(directory)
    _patch(
        directory / "config.json",
        # transformers 4 looks for these names; 5 writes `rope_parameters` and `dtype`, and ignores them.
        {"rope_theta": recipe.rope_theta, "torch_dtype": "float32"},
    )
    _patch(
        directory / "tokenizer_config.json",
        # transformers 5 writes the class `TokenizersBackend`, which 4 does not know.
        {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE},
        drop=("backend",),
    )
    _write(
        directory / "generation_config.json",
        {
            "eos_token_id": [codec.end, codec.pad],
            "pad_token_id": codec.pad,
            # Greedy for every client that does not say otherwise: vLLM takes `top_k` from here, but not `do_sample`.
            "do_sample": True,
            "top_k": 1,
        },
    )


def write_card(directory: Path, facts: dict[str, object]) -> None:
    """The model card, from the template in this package. Raises KeyError when a fact is missing."""
    card = string.Template(_CARD.read_text(encoding="utf-8")).substitute(facts)
    (directory / "README.md").write_text(card, encoding="utf-8")


def _patch(path: Path, add: dict[str, object], drop: tuple[str, ...] = ()) -> None:
    content: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    _write(path, {name: value for name, value in content.items() if name not in drop} | add)


def _write(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
