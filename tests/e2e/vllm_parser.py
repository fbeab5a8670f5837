"""Run by a Python that has vLLM: does vLLM's own argument parser accept these command lines?

Reads a list of command lines (lists of words, without the program) as JSON on stdin. Prints as JSON its version of what
vLLM says: `flags`, every option that it has, and `refused`, the parser's sentence by the command line's number.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse


def parser() -> tuple[argparse.ArgumentParser, Any]:
    """The server's parser, and what it checks between options; where they lie depends on the version."""
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    try:
        from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
        from vllm.entrypoints.launchers.launcher import validate_api_server_args
    except ImportError:
        from vllm.entrypoints.openai.api_server import validate_api_server_args
        from vllm.entrypoints.openai.cli_args import make_arg_parser, validate_parsed_serve_args

    def validate(options: argparse.Namespace) -> None:
        from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS
        from vllm.v1.attention.backends.registry import AttentionBackendEnum

        validate_parsed_serve_args(options)
        validate_api_server_args(options)
        if options.quantization is not None and options.quantization not in QUANTIZATION_METHODS:
            raise ValueError(f"unknown quantization {options.quantization}")
        if options.attention_backend is not None:
            name = options.attention_backend
            assert name in AttentionBackendEnum if not isinstance(name, str) else AttentionBackendEnum[name]

    return make_arg_parser(FlexibleArgumentParser()), validate


def main() -> None:
    lines: list[list[str]] = json.load(sys.stdin)
    made, validate = parser()
    refused = {}
    for number, words in enumerate(lines):
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                validate(made.parse_args(words))
        except SystemExit:
            refused[number] = said.getvalue().strip().splitlines()[-1]
        except (ValueError, KeyError, TypeError) as error:
            refused[number] = str(error)
    flags = sorted({flag for action in made._actions for flag in action.option_strings})
    sys.stdout.write(json.dumps({"flags": flags, "refused": refused}) + "\n")


if __name__ == "__main__":
    main()
