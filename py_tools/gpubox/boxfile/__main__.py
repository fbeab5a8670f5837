"""`python -m gpubox.boxfile [--fields]`: the box file's JSON Schema, or the table of its fields in Markdown."""

from __future__ import annotations

import sys

from gpubox.boxfile.reference import fields_markdown
from gpubox.boxfile.starters import schema_text

sys.stdout.write(fields_markdown() if sys.argv[1:] == ["--fields"] else schema_text())
