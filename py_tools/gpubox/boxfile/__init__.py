"""The box file: the YAML that says what a box shall be."""

from __future__ import annotations

from gpubox.boxfile.future import NotYetItem, not_yet
from gpubox.boxfile.load import load
from gpubox.boxfile.models import (
    BoxFile,
    Engine,
    Finetune,
    Gpu,
    Guard,
    Ktransformers,
    ModelSource,
    Ollama,
    PythonEnv,
    SmallGpt,
    Tunnel,
    Vllm,
    WebUi,
)
from gpubox.boxfile.schema import json_schema
from gpubox.boxfile.starters import starter_text, template_names, write_starter

__all__ = [
    "BoxFile",
    "Engine",
    "Finetune",
    "Gpu",
    "Guard",
    "Ktransformers",
    "ModelSource",
    "NotYetItem",
    "Ollama",
    "PythonEnv",
    "SmallGpt",
    "Tunnel",
    "Vllm",
    "WebUi",
    "json_schema",
    "load",
    "not_yet",
    "starter_text",
    "template_names",
    "write_starter",
]
