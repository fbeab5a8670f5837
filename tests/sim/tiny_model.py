"""A language model of a few hundred kilobytes that engines load, and that says nothing sensible."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

HIDDEN, LAYERS, HEADS, INNER, CONTEXT = 128, 2, 2, 256, 1024
SPECIAL = ("<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_model(place: Path, *, seed: int = 0) -> Path:
    """Write a Llama of two layers with random weights, one token for each byte, into the directory `place`."""
    place.mkdir(parents=True, exist_ok=True)
    words = [*_byte_words(), *SPECIAL]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": HIDDEN // HEADS,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "vocab_size": len(words),
        "bos_token_id": words.index(SPECIAL[0]),
        "eos_token_id": words.index(SPECIAL[1]),
    }
    added = [
        {"id": words.index(word), "content": word, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False, "special": True}
        for word in SPECIAL
    ]
    by_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": by_bytes,
        "decoder": by_bytes,
        "model": {"type": "BPE", "vocab": {word: index for index, word in enumerate(words)}, "merges": []},
    }
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[0],
        "eos_token": SPECIAL[1],
        "model_max_length": CONTEXT,
        "chat_template": TEMPLATE,
    }
    for name, content in (
        ("config.json", config),
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", tokenizer_config),
    ):
        (place / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    (place / "model.safetensors").write_bytes(_safetensors(_weights(len(words), seed)))
    return place


def _weights(vocabulary: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.normal(0.0, 0.05, (rows, columns)).astype(np.float32)

    ones = np.ones(HIDDEN, dtype=np.float32)
    found = {"model.embed_tokens.weight": matrix(vocabulary, HIDDEN), "lm_head.weight": matrix(vocabulary, HIDDEN)}
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            found[f"{name}.self_attn.{part}.weight"] = matrix(HIDDEN, HIDDEN)
        found[f"{name}.mlp.gate_proj.weight"] = matrix(INNER, HIDDEN)
        found[f"{name}.mlp.up_proj.weight"] = matrix(INNER, HIDDEN)
        found[f"{name}.mlp.down_proj.weight"] = matrix(HIDDEN, INNER)
        found[f"{name}.input_layernorm.weight"] = found[f"{name}.post_attention_layernorm.weight"] = ones
    return {**found, "model.norm.weight": ones}


def _safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    """The format in four lines: length of the header, the header, the tensors one after the other."""
    header, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(tensor.tobytes() for tensor in tensors.values())


def _byte_words() -> list[str]:
    """How byte-level BPE writes each byte: printable ones as themselves, the others moved behind U+0100."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) for byte in shown] + [chr(0x100 + index) for index in range(len(moved))]
