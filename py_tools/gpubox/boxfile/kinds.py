"""The kinds of values that box-file fields take.

`patternErrorMessage` is the keyword by which editors (yaml-language-server) explain a pattern; gpubox's own messages
use the same sentence. Patterns are of the common part of Rust's and ECMAScript's regular expressions.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema


def _said(value: object) -> object:
    """`8192` in a list of options means the text `8192`; `true` stays what it is, for it could be meant either way."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, Field(min_length=1)]
Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[int, Field(ge=1)]
Word = Annotated[
    str,
    BeforeValidator(_said),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]}),
]
# It ends up in shell lines, shebangs and ini files, which cannot all quote.
BoxPath = Annotated[
    str,
    Field(
        pattern=r"^(/[A-Za-z0-9._+@-]+)+/?$",
        json_schema_extra={
            "patternErrorMessage": "an absolute path on the box, made of letters, digits and . _ + @ -",
            "examples": ["/root/autodl-tmp"],
        },
    ),
]
# It becomes one word of a command line, after a name and `=`.
AdapterPath = Annotated[
    str,
    Field(
        pattern=r"^/?[A-Za-z0-9._+@-]+(/[A-Za-z0-9._+@-]+)*/?$",
        json_schema_extra={
            "patternErrorMessage": "a path on the box, absolute or below <data_dir>/gpubox,"
            " made of letters, digits and . _ + @ -",
            "examples": ["results/xiaoluo/checkpoint-100"],
        },
    ),
]
HubId = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$",
        json_schema_extra={
            "patternErrorMessage": "an owner and a name, as in Qwen/Qwen3-8B",
            "examples": ["Qwen/Qwen3-8B"],
        },
    ),
]
Version = Annotated[
    str,
    Field(
        pattern=r"^[0-9][0-9A-Za-z.+!-]*$",
        json_schema_extra={"patternErrorMessage": 'one exact version in quotes, as in "0.32.0"'},
    ),
]
PythonVersion = Annotated[
    str,
    Field(
        pattern=r"^3\.[0-9]+(\.[0-9]+)?$",
        json_schema_extra={"patternErrorMessage": 'a Python version in quotes, as in "3.12"', "examples": ["3.12"]},
    ),
]
Url = Annotated[
    str,
    Field(
        pattern=r"^https?://[^\s/]+(/[^\s]*)?$",
        json_schema_extra={"patternErrorMessage": "a URL that begins with https:// or http://"},
    ),
]
# One word of a command line and of a list with semicolons; open-webui keeps it in lower case.
Email = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9._%+-]+@[a-z0-9-]+(\.[a-z0-9-]+)*$",
        json_schema_extra={
            "patternErrorMessage": "an e-mail address in lower case, as in admin@gpubox.local (no mail is sent to it)",
            "examples": ["admin@gpubox.local"],
        },
    ),
]
Duration = Annotated[
    str,
    Field(
        pattern=r"^[1-9][0-9]*[mhd]$",
        json_schema_extra={
            "patternErrorMessage": "a number of minutes, hours or days, as in 30m, 8h or 2d",
            "examples": ["30m", "8h", "2d"],
        },
    ),
]
VariableName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        json_schema_extra={"patternErrorMessage": "the name of an environment variable"},
    ),
]
# Capitals only: a pasted key ("sk-...") must not pass for a name.
SecretName = Annotated[
    str,
    Field(
        pattern=r"^[A-Z][A-Z0-9_]*$",
        json_schema_extra={
            "patternErrorMessage": "the name, in capitals, of an environment variable here; never the key itself",
            "examples": ["GPUBOX_API_KEY"],
        },
    ),
]
ConstantName = Annotated[
    str,
    Field(
        pattern=r"^[A-Z][A-Z0-9_]*$",
        json_schema_extra={
            "patternErrorMessage": "a name in capitals, as in FLASHINFER",
            "examples": ["FLASH_ATTN", "FLASHINFER", "TRITON_ATTN"],
        },
    ),
]
