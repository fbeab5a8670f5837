"""The network: Qwen3's architecture in small, which transformers and vLLM serve natively."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from .tokenizer import IGNORE

if TYPE_CHECKING:
    from .recipe import Recipe
    from .rows import Tokens
    from .tokenizer import Codec


def build(recipe: Recipe, codec: Codec) -> Qwen3ForCausalLM:
    """A fresh model with random weights drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    config = Qwen3Config(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        head_dim=recipe.head_size,
        max_position_embeddings=recipe.context,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        attention_dropout=0.0,
        bos_token_id=None,
        eos_token_id=codec.end,
        pad_token_id=codec.pad,
        initializer_range=0.02,
    )
    # For rows of fifty tokens on a CPU the plain attention takes a third less time per step than the fused one.
    return Qwen3ForCausalLM._from_config(config, attn_implementation="eager")


def answer_logits(
    model: Qwen3ForCausalLM, batch: list[Tokens], pad: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (n, vocabulary) and labels (n) of the n answer positions, and the row (n) that each belongs to.

    Rows are padded on the right: attention is causal, so the padding cannot be seen and needs no mask; and the output
    layer runs on the answers only, which saves a sixth of the work.
    """
    width = max(len(row.ids) for row in batch)
    ids = torch.tensor([row.ids + [pad] * (width - len(row.ids)) for row in batch])
    labels = torch.tensor([row.labels + [IGNORE] * (width - len(row.labels)) for row in batch])[:, 1:]
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    learn = labels != IGNORE
    return model.lm_head(hidden[learn]), labels[learn], learn.nonzero()[:, 0]
