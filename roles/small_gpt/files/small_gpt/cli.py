"""`python -m small_gpt --out DIR`: make the small model, or find that it is already there."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from . import store
from .errors import SmallGptError, Stopped
from .progress import Progress
from .recipe import LIBRARIES, Precision, Recipe, check_versions, installed_versions, key

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 made or already there, 1 failed, 2 usage, 143 stopped."""
    options = _parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        _run(options)
    except SmallGptError as error:
        sys.stderr.write(f"error: {error.message}\nhint: {error.hint}\n")
        return error.exit_code
    return 0


def _run(options: argparse.Namespace) -> None:
    recipe = Recipe(epochs=options.epochs, seed=options.seed, precision=options.precision)
    required = dict(options.require)
    # With every version given, the key is known without the libraries: a bare Python can find a finished model.
    versions = required if set(LIBRARIES) <= set(required) else installed_versions() | required
    model_key = key(recipe, {name: versions[name] for name in LIBRARIES})
    where = _where(options.out, options.cache, model_key)
    if options.look:
        sys.stdout.write(json.dumps({"state": where, "key": model_key}) + "\n")
        return
    progress = Progress(os.environ.get("GPUBOX_PROGRESS"))
    if where == "ready":
        progress.say(f"`{options.out}` is up to date (key {model_key[:12]})")
    elif where == "cached" and store.copy(_cached(options.cache, model_key), options.out, model_key):
        progress.say(f"`{options.out}` was copied from `{options.cache}` and verified (key {model_key[:12]})")
    else:
        check_versions(required, installed_versions())
        _make(options, recipe, model_key, progress)
    if options.cache and where != "cached":
        store.copy(options.out, _cached(options.cache, model_key), model_key)
    progress.step("ready", 1, 1)


def _make(options: argparse.Namespace, recipe: Recipe, model_key: str, progress: Progress) -> None:
    # Quiet and offline: this program needs no network, and a progress bar in a log helps nobody.
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")
    os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", CUDA_VISIBLE_DEVICES="")
    progress.step("loading torch", 0, 1)
    progress.say("loading torch and transformers")
    from .make import make  # lazy: seconds of imports

    make(options.out, recipe, model_key, installed_versions(), threads=options.threads, progress=progress)


def _where(out: Path, cache: Path | None, model_key: str) -> str:
    if store.finished(out, model_key):
        return "ready"
    if cache and store.finished(_cached(cache, model_key), model_key):
        return "cached"
    return "train"


def _cached(cache: Path, model_key: str) -> Path:
    return cache / f"small-gpt-{model_key[:32]}"


def _stop(number: int, _frame: object) -> None:
    raise Stopped(f"stopped by {signal.Signals(number).name}", hint="run the same command again; it takes a minute")


def _version(text: str) -> tuple[str, str]:
    name, equals, version = text.partition("==")
    if not (name and equals and version):
        raise argparse.ArgumentTypeError(f"`{text}` is not NAME==VERSION")
    return name, version.partition("+")[0]


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"`{text}` is not a whole number above 0")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    usual = Recipe()
    parser = argparse.ArgumentParser(prog="small_gpt", description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="where the finished model shall lie")
    add("--epochs", type=_positive, default=usual.epochs, help="passes over the questions (%(default)s)")
    add("--seed", type=int, default=usual.seed, help="same seed and threads, same weights on one machine (%(default)s)")
    add("--threads", type=int, default=0, help="0: one, so that the same seed gives the same weights")
    add("--precision", choices=get_args(Precision), default=usual.precision, help="auto: bf16 where native")
    add("--cache", type=Path, metavar="DIR", help="finished models are copied from and to here, by key, verified")
    add("--look", action="store_true", help='only print {"state": ready|cached|train, "key": ...}')
    add(
        "--require",
        type=_version,
        action="append",
        default=[],
        metavar="NAME==VERSION",
        help=f"refuse other versions; with all of {', '.join(LIBRARIES)} given, a finished model is found without them",
    )
    return parser
