"""Checks of processor, system libraries, Python, tools, ports and clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.builds import controller_python
from gpubox.preflight import needs
from gpubox.preflight.case import install, wanted_ports
from gpubox.preflight.findings import Finding, blocker, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubox.preflight.case import Case

_SKEW_S = 300


def architecture(case: Case) -> Iterator[Finding]:
    """A processor that there are wheels for."""
    arch = case.facts.system.arch
    if arch in ("x86_64", "amd64"):
        yield ok("architecture", arch)
    elif not case.serves:
        yield warning("architecture", f"{arch}: engines are tested on x86_64 only", "rent an x86_64 box to serve")
    elif case.build == "cuda" and arch in ("aarch64", "arm64"):
        yield warning("architecture", f"{arch}: vLLM has wheels for it, gpubox has not been tried there")
    elif case.box is not None and case.box.engine == "ollama" and arch in ("aarch64", "arm64"):
        yield warning("architecture", f"{arch}: Ollama has releases for it, gpubox has not been tried there")
    else:
        what = "vLLM's CPU build" if case.build == "cpu" else f"`{case.box.engine if case.box else ''}`"
        yield blocker("architecture", f"{what} is installed on x86_64 only, the box is {arch}", "rent an x86_64 box")


def instructions(case: Case) -> Iterator[Finding]:
    """Vector instructions; without them a program ends in `Illegal instruction`."""
    cpu = case.facts.cpu
    by_cpu = case.build == "cpu" or (case.box is not None and case.box.engine == "ktransformers")
    if not by_cpu or case.facts.system.arch not in ("x86_64", "amd64") or not cpu.flags:
        return
    if "avx2" not in cpu.flags:
        yield blocker("cpu-instructions", f"the CPU ({cpu.model}) has no AVX2", "rent a box with a newer CPU")
    elif "avx512f" not in cpu.flags:
        yield warning(
            "cpu-instructions", f"the CPU ({cpu.model}) has no AVX-512: it will compute, but slower than it could"
        )


def libc(case: Case) -> Iterator[Finding]:
    """The C library that wheels are linked against."""
    system = case.facts.system
    have = needs.numbers(system.libc_version)
    least, what = _glibc_need(case)
    if system.libc == "musl":
        if case.serves:
            yield blocker(
                "libc",
                f"{system.os_name or 'the box'} has musl, and {what} has no wheels for it",
                "choose an image with glibc, as Ubuntu 22.04",
            )
        else:
            yield warning("libc", f"{system.os_name or 'the box'} has musl: no engine will run there")
    elif not have:
        yield warning("libc", "which C library the box has could not be found out")
    elif least and have < least:
        yield blocker(
            "libc",
            f"{system.os_name or 'the box'} has glibc {system.libc_version}, {what} needs {needs.dotted(least)}",
            _glibc_fix(case, have),
        )
    else:
        yield ok("libc", f"glibc {system.libc_version}" + (f", {what} needs {needs.dotted(least)}" if least else ""))


def python(case: Case) -> Iterator[Finding]:
    """A way to come to the controller's Python."""
    facts = case.facts
    wanted = f"{needs.dotted(needs.CONTROLLER_PYTHON)} to {needs.dotted(needs.CONTROLLER_PYTHON_LAST)}"
    found = controller_python(facts)
    names = ", ".join(f"{python.version}" for python in facts.pythons) or "none"
    if found is not None and (found.ensurepip or found.pip or facts.has("uv")):
        yield ok("python", f"Python {found.version} (`{found.path}`)")
    elif found is not None and not facts.conda:
        yield blocker(
            "python",
            f"`{found.path}` ({found.version}) has neither `ensurepip` nor `pip`, so it can make no environment",
            install(facts, "python3-venv"),
        )
    elif fetcher := _fetcher(case):
        yield warning(
            "python",
            f"no whole Python {wanted} (there: {names}); `{fetcher}` has to fetch one, which takes longer "
            "and needs a network that reaches its source",
            f"choose an image with Python {wanted}",
        )
    else:
        yield blocker(
            "python",
            f"no Python {wanted} (there: {names}), and neither conda, uv nor pip to fetch one with",
            f"choose an image with Python {wanted}; or {install(facts, 'python3', 'python3-venv')}",
        )


def tools(case: Case) -> Iterator[Finding]:
    """Programs that gpubox runs on the box."""
    missing = [tool for tool in ("tar", "gzip") if not case.facts.has(tool)]
    if missing:
        named = " and ".join(f"`{tool}`" for tool in missing)
        yield blocker("tools", f"{named} missing on the box; bundles cannot be unpacked", install(case.facts, *missing))
        return
    absent = [tool for tool in ("flock", "setsid", "timeout", "rsync", "tmux") if not case.facts.has(tool)]
    rest = f"; not there, and not needed: {', '.join(absent)}" if absent else ""
    yield ok("tools", f"tar and gzip{rest}")


def libraries(case: Case) -> Iterator[Finding]:
    """System libraries that no Python package brings along."""
    found = case.facts.libraries
    if case.build != "cpu" or not case.serves or "libnuma.so.1" not in found or found["libnuma.so.1"]:
        return
    if case.facts.system.uid == 0 and case.facts.has("apt-get"):
        yield ok("libraries", "libnuma is missing; the role vllm installs `libnuma1`")
        return
    message = "vLLM's CPU build does not start without libnuma, which the box lacks"
    yield blocker("libraries", message, install(case.facts, "libnuma1" if case.facts.has("apt-get") else "numactl"))


def cores(case: Case) -> Iterator[Finding]:
    """CPU time that the box may really use, which is not what `nproc` shows in a container."""
    cpu = case.facts.cpu
    host = (
        f" (the container's limit; the host has {cpu.logical})" if cpu.logical and cpu.effective < cpu.logical else ""
    )
    if not cpu.effective:
        yield warning("cores", "how many cores the box may use is unknown")
    elif cpu.effective < 2 and not (case.gpu_less and case.serves):
        yield warning(
            "cores", f"{cpu.effective:g} cores{host}: installing and starting engines will be slow", "rent more cores"
        )
    else:
        yield ok("cores", f"{cpu.effective:g} cores{host}")


def ports(case: Case) -> Iterator[Finding]:
    """Ports of the services, on 127.0.0.1 of the box."""
    taken = set(case.facts.listening) - set(case.facts.gpubox.service_ports)
    for field, port in wanted_ports(case.box).items():
        if port not in taken:
            yield ok("port", f"port {port} (`{field}`) is free or gpubox's own")
            continue
        free = next(other for other in range(port + 1, port + 1000) if other not in case.facts.listening)
        holder = case.facts.holders.get(port)
        yield blocker(
            "port",
            f"port {port} (`{field}`) is taken on the box" + (f" by {holder}" if holder else ""),
            f"`{field}: {free}`, or end what holds it (`ss -ltnp 'sport = :{port}'` on the box)",
        )


def clock(case: Case) -> Iterator[Finding]:
    """A wrong clock makes certificates look expired and spoils times in reports."""
    skew = case.facts.clock_skew
    if skew is None:
        return
    if abs(skew) > _SKEW_S:
        way = "ahead of" if skew > 0 else "behind"
        yield warning(
            "clock",
            f"the box's clock is {abs(skew) / 60:.0f} minutes {way} this machine's: downloads over TLS may fail",
            "see which of the two is wrong (`date -u` on both); a container's clock is its host's: tell the provider",
        )
    else:
        yield ok("clock", "both clocks agree")


def login(case: Case) -> Iterator[Finding]:
    """Who we are there, and what keeps services alive."""
    system = case.facts.system
    who = "root" if system.uid == 0 else f"`{system.user}` (not root: system packages are left as they are)"
    yield ok("login", f"{who}; {'systemd runs, and is not needed' if system.systemd else 'no systemd, none needed'}")


def _glibc_need(case: Case) -> tuple[needs.Version, str]:
    if case.build is not None:
        version = needs.vllm_version(case)
        return needs.vllm_glibc(case.build, version), f"vLLM {version}"
    section = case.box.ktransformers if case.box and case.box.engine == "ktransformers" else None
    if section is not None and section.recipe == "current":
        return needs.ktransformers_glibc("current"), "kt-kernel"
    return (), f"`{case.box.engine}`" if case.serves and case.box else "gpubox"


def _glibc_fix(case: Case, have: needs.Version) -> str:
    image = "choose an image with Ubuntu 22.04 or newer"
    if case.build == "cuda":
        version = needs.vllm_version(case)
        for other in (needs.vllm_pinned("cuda13"), needs.vllm_pinned("cuda12")):
            if other != version and have >= needs.vllm_glibc("cuda", other):
                return f'`vllm.version: "{other}"`, or {image}'
    if case.build is None:
        return f"`ktransformers.recipe: classic`, or {image}"
    return image


def _fetcher(case: Case) -> str | None:
    """What can fetch a Python: conda, uv, or a pip that installs uv."""
    facts = case.facts
    if facts.conda:
        return facts.conda
    if uv := facts.tools.get("uv"):
        return uv
    with_pip = next((python for python in facts.pythons if python.pip and python.release >= (3, 8)), None)
    return f"{with_pip.path} -m pip install uv" if with_pip else None
