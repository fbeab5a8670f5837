"""The model's own byte-level BPE, trained on the question-answer set, and conversations as token ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from .chatml import END, PAD, SPECIAL_TOKENS, TEMPLATE, segments
from .rows import COPY_ORDER, Conversation, Tokens

if TYPE_CHECKING:
    from .recipe import Recipe

IGNORE = -100  # torch's own mark for positions without loss

# Words of the template and of the usual system prompts; they appear in every row, so they deserve tokens.
_FRAME = "system\nuser\nassistant\n"


def train_tokenizer(texts: list[str], recipe: Recipe) -> PreTrainedTokenizerFast:
    """A tokenizer for `transformers`, chat template attached; every byte has a token, so nothing is unknown."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        min_frequency=1,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=recipe.max_token_bytes,
        show_progress=False,
    )
    bpe.train_from_iterator([*texts, _FRAME], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        model_max_length=recipe.context,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


class Codec:
    """Conversations to ids and back."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.pad = int(tokenizer.pad_token_id)
        self.end = int(tokenizer.eos_token_id)

    def encode(self, conversation: Conversation) -> Tokens:
        """Ids of the rendered conversation, with labels on the answers only."""
        ids: list[int] = []
        labels: list[int] = []
        for segment in segments(conversation):
            piece = self.ids(segment.text)
            ids += piece
            labels += piece if segment.learn else [IGNORE] * len(piece)
        return Tokens(ids, labels, known=not conversation[-2].content.startswith(COPY_ORDER))

    def ids(self, text: str) -> list[int]:
        """Ids of a text as it stands."""
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def text(self, ids: list[int]) -> str:
        """The text of ids, up to the end mark."""
        stop = ids.index(self.end) if self.end in ids else len(ids)
        return str(self.tokenizer.decode(ids[:stop], skip_special_tokens=True))
