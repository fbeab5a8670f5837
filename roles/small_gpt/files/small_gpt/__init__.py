"""Trains the small Chinese and English model that gpubox carries with it, on a plain CPU, from this package alone.

Run it as `python -m small_gpt --out DIR`. It stands alone: a box needs torch, transformers, tokenizers, safetensors and
PyYAML to train, and nothing but Python to find out that a finished model is already there.
"""
