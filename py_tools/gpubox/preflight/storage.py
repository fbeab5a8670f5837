"""Checks of disks and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.preflight import needs
from gpubox.preflight.case import GIB, size
from gpubox.preflight.findings import Finding, blocker, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubox.preflight.case import Case

_NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "fuse", "ceph", "lustre", "9p", "glusterfs", "beegfs", "juicefs")
# NCCL's ring buffers and vLLM's worker queues; Docker's own 64 MiB makes both fail.
_SHM_BYTES = GIB


def data_disk(case: Case) -> Iterator[Finding]:
    """A data directory that answers, exists or can be made, and can be written to."""
    disk, place = case.data_disk, case.data_dir
    elsewhere = "set `data_dir` to a directory on a disk that can be written to (`df -h` on the box lists them)"
    if disk is None:
        yield warning("data-dir", f"`{place}` was not looked at", "read the facts again with this box file")
        return
    where = f"`{place}`" if disk.exists or disk.path != place else f"`{place}` (to be made in `{disk.probed}`)"
    if disk.hung:
        yield blocker("data-dir", f"`{place}` does not answer: its disk hangs", f"restart the box, or {elsewhere}")
    elif disk.read_only:
        yield blocker(
            "data-dir", f"{where} is on a read-only disk (`{disk.mount}`)", f"restart the box, or {elsewhere}"
        )
    elif not disk.writable and disk.free != 0:
        yield blocker("data-dir", f"`{case.facts.system.user}` cannot write to {where}", elsewhere)
    elif (disk.fs or "").lower().startswith(_NETWORK_FILE_SYSTEMS):
        yield warning(
            "data-dir",
            f"{where} is on a network disk ({disk.fs}): environments of many small files are slow there",
            "set `data_dir` to a local disk, as in /root/autodl-tmp",
        )
    else:
        yield ok("data-dir", f"{where} on `{disk.mount or '?'}` ({disk.fs or 'unknown file system'})")
    autodl = case.facts.disk("/root/autodl-tmp")
    if autodl is not None and autodl.exists and not autodl.writable and not place.startswith("/root/autodl-tmp"):
        yield warning(
            "data-dir",
            f"the data disk `/root/autodl-tmp` cannot be written to; `{place}` on the system disk is used instead",
            "restart the box to get its data disk back",
        )


def space(case: Case) -> Iterator[Finding]:
    """Free bytes on the data disk."""
    disk = case.data_disk
    if disk is None or disk.hung or disk.free is None:
        return
    needed = needs.disk_bytes(case)
    downloads = case.box is not None and case.box.model is not None and case.box.model != "small-gpt"
    besides = ", besides the model" if downloads else ""
    if disk.free < needed:
        yield blocker(
            "disk-space",
            f"`{disk.mount or disk.probed}` has {size(disk.free)} free; {size(needed)} are needed{besides}",
            f"free some space (`du -xh -d2 {disk.probed} | sort -h | tail` on the box), enlarge the disk in the "
            "provider's console, or set `data_dir` to a bigger disk",
        )
    else:
        yield ok(
            "disk-space", f"`{disk.mount or disk.probed}` has {size(disk.free)} free, {size(needed)} needed{besides}"
        )


def inodes(case: Case) -> Iterator[Finding]:
    """Free inodes on the data disk: a disk may have space and still take no more files."""
    disk = case.data_disk
    if disk is None or disk.inodes_free is None:
        return
    needed = needs.inodes(case)
    if disk.inodes_free < needed:
        yield blocker(
            "inodes",
            f"`{disk.mount or disk.probed}` takes only {disk.inodes_free:,} more files; about {needed:,} are needed",
            "delete directories with many small files (old environments, data sets), or set `data_dir` to another disk",
        )


def temporary(case: Case) -> Iterator[Finding]:
    """`/tmp`, where the control socket of the services is, and the system disk."""
    tmp = case.facts.disk("/tmp")  # noqa: S108 - the box's, not ours
    if tmp is not None and not tmp.writable:
        full = "is full" if tmp.free == 0 else "cannot be written to"
        yield blocker("tmp", f"`/tmp` on the box {full}", "on the box: `df -h /tmp; ls -ld /tmp`, and make room there")
    system = case.facts.disk("/")
    if system is not None and system.free is not None and system.free < 200 * 2**20:
        yield warning(
            "system-disk",
            f"the system disk has {size(system.free)} left: programs and the login itself may fail",
            "delete what you do not need from `/root` and `/var` on the box",
        )


def other_disks(case: Case) -> Iterator[Finding]:
    """Disks that hang and may make commands hang that touch them."""
    for disk in case.facts.disks:
        if disk.hung and disk != case.data_disk:
            yield warning("disk-hangs", f"`{disk.path}` does not answer", "restart the box, or leave that disk alone")


def memory(case: Case) -> Iterator[Finding]:
    """Memory that the box may really use, which is not what `free` shows in a container."""
    if case.gpu_less and (case.serves or case.on_gpu):
        return  # Said already, and mended by the same restart.
    have, needed = case.facts.memory.effective, needs.memory_bytes(case)
    limit = case.facts.memory.cgroup_limit
    source = f" (the container's limit; the host has {size(case.facts.memory.host_total or 0)})" if limit else ""
    if not have:
        yield warning("memory", "how much memory the box may use is unknown")
    elif have < needed:
        space_ = case.box.vllm.cpu_kvcache_space if case.box and case.box.vllm else None
        smaller = "`vllm.cpu_kvcache_space: 1`, or " if case.build == "cpu" and (space_ or 1) > 1 else ""
        yield blocker(
            "memory",
            f"the box may use {size(have)} of memory{source}; about {size(needed)} are needed",
            f"{smaller}rent a box with more memory",
        )
    else:
        available = case.facts.memory.available
        if available is not None and available < needed and not case.converged:
            yield warning(
                "memory",
                f"{size(available)} of {size(have)} of memory are free{source}; about {size(needed)} are needed",
                "end what else runs on the box (`ps aux --sort=-rss | head`)",
            )
        else:
            yield ok("memory", f"{size(have)} of memory{source}")


def shared_memory(case: Case) -> Iterator[Finding]:
    """Shared memory, through which the processes of several cards talk."""
    shm = case.facts.memory.shm
    cards = max(case.tensor_parallel, 1)
    if shm is not None and cards > 1 and shm < _SHM_BYTES:
        yield warning(
            "shm",
            f"`/dev/shm` has {size(shm)}; {cards} cards talk through it and may fail to start",
            "on the box, if it lets you: `mount -o remount,size=8g /dev/shm`; "
            "else `NCCL_SHM_DISABLE: 1` under `vllm.env`, or a box started with more shared memory",
        )
