"""Make one virtual environment on the box. Runs as a job, on the controller's Python; standard library only.

The request is a JSON object in `$GPUBOX_PYTHON_ENV` (an index URL may hold a password, so it is not in argv). The new
environment is built beside the old one and a link is swapped at the end: its users see the old one or the new one.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
SYSTEM_PIP = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf")
STAMP = ".gpubox-env.json"
PULSE = 2.0
MIB = {"B": 1 / 1048576, "KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}


@dataclass(frozen=True)
class Request:
    """What is wanted; the fields are the role's variables without their prefix."""

    name: str
    root: Path
    key: str
    requirements: list[str]
    excludes: list[str] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)
    imports_env: dict[str, str] = field(default_factory=dict)
    python: str = ""
    index_url: str = ""
    extra_index_urls: list[str] = field(default_factory=list)
    find_links: list[str] = field(default_factory=list)
    no_index: bool = False
    fallback_index_urls: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, text: str) -> Request:
        """The request from its JSON text."""
        values = json.loads(text)
        return cls(**{**values, "root": Path(values["root"])})

    @property
    def build(self) -> Path:
        """Where the environment really lies."""
        return self.root / "envs" / ".builds" / self.name / self.key[:16]

    @property
    def link(self) -> Path:
        """The path by which everything else knows it."""
        return self.root / "envs" / self.name


def main() -> int:
    """Make the environment that is asked for, or say in one line why not."""
    request = Request.read(os.environ["GPUBOX_PYTHON_ENV"])
    progress = Progress(os.environ.get("GPUBOX_PROGRESS"))
    if not (request.build / STAMP).exists():
        clear_old_builds(request)
        trouble = install(request, progress) or try_imports(request, progress)
        if trouble:
            sys.stderr.write(f"{trouble}\n")
            return 1
        (request.build / STAMP).write_text(json.dumps({"key": request.key, "at": time.time()}) + "\n", encoding="utf-8")
    swap(request)
    progress.tell(f"environment `{request.name}` is ready", done=1, total=1, unit="environment")
    return 0


def install(request: Request, progress: Progress) -> str:
    """Run uv; the empty string, or the line that says what went wrong and what mends it."""
    settings = index_settings(request, pip_configuration(os.environ), os.environ)
    environment = uv_environment(request, settings, os.environ)
    uv = str(request.root / "controller" / "bin" / "uv")
    python = request.python or str(request.root / "controller" / "bin" / "python")
    progress.tell(f"making the environment `{request.name}`")
    code, said = run([uv, "venv", "--no-project", "--python", python, str(request.build)], environment, progress)
    if code == 0:
        excludes = request.build / "excludes.txt"
        excludes.write_text("".join(f"{name}\n" for name in request.excludes), encoding="utf-8")
        target = ["--python", str(request.build / "bin" / "python"), "--excludes", str(excludes)]
        arguments = ["pip", "install", *target, *uv_arguments(settings), *request.requirements]
        progress.tell("resolving the packages")
        code, said = run([uv, *arguments], environment, progress)
    return "" if code == 0 else explain(said, settings)


def try_imports(request: Request, progress: Progress) -> str:
    """Import what the environment is for, so that a wrong mixture is found now; the empty string, or why not.

    It also compiles their bytecode, which would else be done by the first start: 11 of vLLM's 20 CPU seconds.
    """
    if not request.imports:
        return ""
    progress.tell(f"importing {', '.join(request.imports)}")
    python = request.build / "bin" / "python"
    environment = {**os.environ, **request.imports_env}
    code, said = run([str(python), "-c", f"import {', '.join(request.imports)}"], environment, progress)
    if code == 0:
        return ""
    last = next((line for line in reversed(said.splitlines()) if line.strip()), f"exit code {code}")
    return f"the environment `{request.name}` was installed, but its packages do not work together: {last.strip()}"


def clear_old_builds(request: Request) -> None:
    """Remove half-made and older builds, but never the one in use: a running service may still load from it."""
    in_use = request.link.resolve() if request.link.is_symlink() else None
    request.build.parent.mkdir(parents=True, exist_ok=True)
    for build in request.build.parent.iterdir():
        if build.resolve() != in_use or build == request.build:
            shutil.rmtree(build)


def swap(request: Request) -> None:
    """Let the environment's path mean the new build, in one step."""
    beside = request.link.with_name(f".{request.name}.new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(os.path.relpath(request.build, request.link.parent))
    beside.replace(request.link)


def index_settings(
    request: Request, pip: dict[str, list[str]], environ: os._Environ[str] | dict[str, str]
) -> dict[str, list[str]]:
    """Where packages come from: the request, else uv's own variables (uv reads them itself), else pip's configuration.

    The fallback indexes hold builds that the ordinary index lacks (torch for CPUs). They stay out where find-links are
    given, since whoever gives wheels gives those too, often on a box that reaches no index at all.
    """
    own_index = bool(request.index_url or environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL"))
    own_extra = bool(request.extra_index_urls or environ.get("UV_INDEX") or environ.get("UV_EXTRA_INDEX_URL"))
    own_links = bool(request.find_links or environ.get("UV_FIND_LINKS"))
    result = {
        "index-url": [request.index_url] if request.index_url else [] if own_index else pip.get("index-url", []),
        "extra-index-url": list(request.extra_index_urls)
        or ([] if own_extra else list(pip.get("extra-index-url", []))),
        "find-links": list(request.find_links) or ([] if own_links else pip.get("find-links", [])),
        "trusted-host": pip.get("trusted-host", []),
        "cert": pip.get("cert", []),
        "proxy": pip.get("proxy", []),
    }
    no_index = request.no_index or (
        not own_index and pip.get("no-index", [""])[0].lower() in {"1", "true", "yes", "on"}
    )
    if no_index:
        result.update({"no-index": ["true"], "index-url": [], "extra-index-url": []})
    elif not result["find-links"] and not own_links:
        result["extra-index-url"] += request.fallback_index_urls
    return {key: values for key, values in result.items() if values}


def uv_arguments(settings: dict[str, list[str]]) -> list[str]:
    """The settings as options of `uv pip install`."""
    # uv's default takes a package from the first index that has it in any version. pip, whose configuration this is,
    # takes the best of all; and the index of torch for CPUs also holds a few old versions of common packages.
    arguments = ["--index-strategy", "unsafe-best-match"]
    options = (("index-url", "--default-index"), ("extra-index-url", "--index"), ("find-links", "--find-links"))
    for key, option in (*options, ("trusted-host", "--allow-insecure-host")):
        for value in settings.get(key, []):
            arguments += [option, value]
    return [*arguments, "--no-index"] if "no-index" in settings else arguments


def uv_environment(
    request: Request, settings: dict[str, list[str]], environ: os._Environ[str] | dict[str, str]
) -> dict[str, str]:
    """uv's environment: caches on the data disk, the box's own certificates, patience with slow mirrors."""
    cache = request.root / "cache"
    bundles = [*settings.get("cert", []), *CA_BUNDLES]
    ours = {
        "UV_CACHE_DIR": str(cache / "uv"),
        "UV_PYTHON_INSTALL_DIR": str(cache / "uv-python"),
        "UV_HTTP_TIMEOUT": "120",
    }
    for name, value in (
        ("SSL_CERT_FILE", next((bundle for bundle in bundles if Path(bundle).is_file()), None)),
        ("ALL_PROXY", next(iter(settings.get("proxy", [])), None)),
    ):
        if value:
            ours[name] = value
    inherited = {key: value for key, value in environ.items() if key not in {"GPUBOX_PYTHON_ENV", "VIRTUAL_ENV"}}
    return {**ours, **inherited, "NO_COLOR": "1"}


def pip_configuration(environ: os._Environ[str] | dict[str, str]) -> dict[str, list[str]]:
    """pip's own settings for `pip install`, from where pip reads them: files, then `PIP_*` variables, which win."""
    home = Path(environ.get("HOME") or "/root")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [*map(Path, SYSTEM_PIP), home / ".pip" / "pip.conf", config / "pip" / "pip.conf"]
    if environ.get("PIP_CONFIG_FILE"):
        files.append(Path(environ["PIP_CONFIG_FILE"]))
    merged: dict[str, str] = {}
    for section in ("global", "install"):
        for path in files:
            merged.update(_section(path, section))
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            merged[name[4:].lower().replace("_", "-")] = value
    return {key: value.split() for key, value in merged.items() if value}


def run(argv: list[str], environment: dict[str, str], progress: Progress) -> tuple[int, str]:
    """Run uv, pass on what it says, turn it into progress. The exit code and all that it said."""
    said: list[str] = []
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as uv:
        threading.Thread(target=progress.pulse, args=(uv,), daemon=True).start()
        for line in uv.stdout or ():
            said.append(line)
            sys.stdout.write(line)
            sys.stdout.flush()
            progress.hear(line)
    return uv.returncode, "".join(said)


def explain(said: str, settings: dict[str, list[str]]) -> str:
    """One line about a failed uv: what, and which box-file field mends it."""
    found = re.search(r"(?:Failed to fetch|error sending request for url)[^h]*(https?://[^\s`)]+)", said)
    host = re.sub(r"//[^/@]*@", "//", found.group(1)) if found else ""
    if "invalid peer certificate" in said:
        return (
            f"error: the package index shows a certificate that the box does not trust ({host}); install its CA there"
        )
    if found:
        last = re.findall(r"cause: (.+)", said)
        return (
            f"error: the package index cannot be reached ({host}: {last[-1] if last else 'no answer'}); "
            "set `python_env.index_url` in the box file to an index that the box reaches"
        )
    if "No space left on device" in said:
        return "error: the disk is full; free space there, or set `data_dir` in the box file to a larger disk"
    if "No interpreter found" in said or "No download found" in said or "Invalid version request" in said:
        return f"error: no such Python on the box; change `python_env.python` in the box file ({_last_line(said)})"
    if "No solution found" in said:
        where = ", ".join(f"{key} {' '.join(settings[key])}" for key in ("index-url", "find-links") if key in settings)
        where = re.sub(r"//[^/@\s]*@", "//", where) or "the default index"
        return f"error: {_last_line(said)} Looked in: {where}; see `python_env` in the box file"
    return f"error: {_last_line(said)}"


class Progress:
    """Appends JSON lines to the file named by `$GPUBOX_PROGRESS`."""

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        self._sizes: dict[str, float] = {}
        self._done: set[str] = set()

    def tell(self, label: str, **numbers: float | str) -> None:
        """Add one line."""
        if self._path:
            with self._path.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"label": label, **numbers}) + "\n")

    def hear(self, line: str) -> None:
        """Turn one line of uv into a line of progress; sizes in MiB as uv announces them."""
        if match := re.match(r"Downloading (\S+) \(([\d.]+)([KMG]?i?B)\)", line):
            self._sizes[match[1]] = float(match[2]) * MIB[match[3]]
            self._downloads()
        elif match := re.match(r" Downloaded (\S+)", line):
            self._done.add(match[1])
            self._downloads()
        elif match := re.match(r"(Resolved|Prepared|Installed) (\d+) packages?", line):
            word = {"Resolved": "fetching", "Prepared": "installing", "Installed": "installed"}[match[1]]
            self.tell(f"{word} {match[2]} packages")

    def pulse(self, uv: subprocess.Popen[str]) -> None:
        """Tell how much uv has written while it downloads: it announces only the beginning and the end of each file."""
        written = 0.0
        while uv.poll() is None:
            time.sleep(PULSE)
            before, written = written, _written(uv.pid)
            if before and self._open():
                self._downloads(written_mib=round(written, 1), mib_per_s=round((written - before) / PULSE, 1))

    def _open(self) -> list[str]:
        return [name for name in list(self._sizes) if name not in self._done]

    def _downloads(self, **numbers: float) -> None:
        waiting = sorted(self._open(), key=self._sizes.__getitem__, reverse=True)
        label = f"downloading {waiting[0]}" if waiting else "downloaded"
        if len(waiting) > 1:
            label += f" and {len(waiting) - 1} more"
        done = sum(size for name, size in list(self._sizes.items()) if name in self._done)
        total = sum(list(self._sizes.values()))
        self.tell(label, done=round(done, 1), total=round(total, 1), unit="MiB", **numbers)


def _written(pid: int) -> float:
    """MiB that the process has written so far; 0 where the system does not tell."""
    try:
        counters = Path(f"/proc/{pid}/io").read_text(encoding="ascii")
    except OSError:
        return 0.0
    match = re.search(r"^wchar: (\d+)", counters, re.MULTILINE)
    return int(match[1]) / 1048576 if match else 0.0


def _section(path: Path, section: str) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        return {}  # a broken pip.conf is pip's business; what it would have said is missing then
    if not parser.has_section(section):
        return {}
    return {key.replace("_", "-"): value for key, value in parser.items(section)}


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("hint:")]
    return re.sub(r"^(error|cause):\s*", "", lines[-1]) if lines else "uv said nothing"


if __name__ == "__main__":
    sys.exit(main())
