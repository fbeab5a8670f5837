"""The real probe under dash, bash and busybox sh, on fake roots."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gpubox.remote import facts as facts_module
from gpubox.remote.facts import PROBE, command, parse

if TYPE_CHECKING:
    from .fakes import FakeBox

GIB = 2**30


def test_an_ordinary_box(fake_box: FakeBox) -> None:
    facts = fake_box.facts()
    assert facts.system.hostname == "box"
    assert facts.system.os_name == "Ubuntu 22.04.4 LTS"
    assert facts.system.uid == os.getuid()
    assert facts.system.libc == "glibc"
    assert (facts.cpu.logical, facts.cpu.physical, facts.cpu.sockets, facts.cpu.numa_nodes) == (4, 2, 2, 2)
    assert facts.cpu.effective == 4
    assert facts.cpu.flags == ("avx", "avx2", "f16c", "fma", "avx512f", "amx_tile")
    assert facts.memory.effective == 790527344 * 1024
    assert facts.memory.cgroup_limit is None
    assert facts.clock_skew is not None
    assert abs(facts.clock_skew) < 60
    assert facts.gpu.nvidia_smi == "absent"
    assert facts.pythons == ()
    assert not facts.has("rsync")
    assert facts.system.init == "bash"


def test_leaves_nothing_behind(fake_box: FakeBox) -> None:
    before = fake_box.tree()
    fake_box.facts("/home/box/new/data")
    assert fake_box.tree() == before


def test_cgroup_v2_in_a_nested_group(fake_box: FakeBox) -> None:
    fake_box.cpus(128)
    fake_box.write("proc/self/cgroup", "0::/machine/box.scope\n")
    fake_box.write("sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    fake_box.write("sys/fs/cgroup/machine/cpu.max", "1600000 100000\n")
    fake_box.write("sys/fs/cgroup/machine/box.scope/cpu.max", "max 100000\n")
    fake_box.write("sys/fs/cgroup/machine/memory.max", f"{120 * GIB}\n")
    fake_box.write("sys/fs/cgroup/machine/memory.current", f"{100 * GIB}\n")
    fake_box.write("sys/fs/cgroup/machine/memory.stat", f"anon 5\ninactive_file {60 * GIB}\n")
    fake_box.write("sys/fs/cgroup/machine/box.scope/memory.max", "max\n")
    facts = fake_box.facts()
    assert facts.cpu.quota_cores == 16
    assert facts.cpu.effective == 16
    assert facts.memory.cgroup_version == 2
    assert facts.memory.effective == 120 * GIB
    assert facts.memory.available == 80 * GIB


def test_cgroup_v1_in_a_container_that_sees_the_host_path(fake_box: FakeBox) -> None:
    fake_box.cpus(128)
    fake_box.write("proc/self/cgroup", "4:memory:/docker/4f1c\n3:cpuset:/docker/4f1c\n2:cpu,cpuacct:/docker/4f1c\n")
    fake_box.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n")
    fake_box.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    fake_box.write("sys/fs/cgroup/cpuset/cpuset.cpus", "0-15,64-79\n")
    fake_box.write("sys/fs/cgroup/memory/memory.limit_in_bytes", f"{2 * GIB}\n")
    fake_box.write("sys/fs/cgroup/memory/memory.usage_in_bytes", f"{GIB}\n")
    facts = fake_box.facts()
    assert facts.cpu.quota_cores == 0.5
    assert facts.cpu.cpuset == 32
    assert facts.cpu.effective == 0.5
    assert facts.memory.cgroup_version == 1
    assert facts.memory.effective == 2 * GIB
    assert facts.memory.available == GIB


@pytest.mark.parametrize("giant", ["9223372036854771712", "18446744073709551615", "max", ""])
def test_no_limit_at_all(fake_box: FakeBox, giant: str) -> None:
    fake_box.write("proc/self/cgroup", "4:memory:/\n2:cpu:/\n")
    fake_box.write("sys/fs/cgroup/memory/memory.limit_in_bytes", f"{giant}\n")
    fake_box.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    fake_box.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    facts = fake_box.facts()
    assert facts.memory.cgroup_limit is None
    assert facts.memory.effective == facts.memory.host_total
    assert facts.cpu.quota_cores is None
    assert facts.cpu.effective == 4


def test_affinity_counts(fake_box: FakeBox) -> None:
    fake_box.write("proc/self/status", "Name:\tsh\nCpus_allowed_list:\t1,3\n")
    assert fake_box.facts().cpu.effective == 2


def test_disks(fake_box: FakeBox) -> None:
    fake_box.write("root/autodl-tmp/here", "")
    facts = fake_box.facts("/home/box/new/data/")
    assert [disk.path for disk in facts.disks] == ["/", "/home/box", "/tmp", "/root/autodl-tmp", "/home/box/new/data"]
    autodl = facts.disk("/root/autodl-tmp")
    assert autodl is not None
    real = os.statvfs(fake_box.root)
    assert autodl.size is not None
    assert autodl.free is not None
    # Other programs write to that disk too.
    assert abs(autodl.size - real.f_blocks * real.f_frsize) < 0.2 * autodl.size
    assert abs(autodl.free - real.f_bavail * real.f_frsize) < GIB
    assert autodl.exists
    assert autodl.writable
    new = facts.disk("/home/box/new/data")
    assert new is not None
    assert (new.exists, new.probed, new.writable) == (False, "/home/box", True)
    assert facts.gpubox.root == "/home/box/new/data/gpubox"


def test_mounts_inodes_and_spaces(fake_box: FakeBox) -> None:
    fake_box.write("mnt/my disk/x", "")
    fake_box.write("proc/mounts", "overlay / overlay rw 0 0\n//nas/a\\040b /mnt/my\\040disk cifs ro,nosuid 0 0\n")
    fake_box.program(
        "df",
        'case "$*" in\n'
        '*-Pi*my\\ disk) printf "Filesystem Inodes IUsed IFree IUse%% Mounted on\\n'
        '//nas/a b 0 0 0 - /mnt/my disk\\n";;\n'
        '*my\\ disk) printf "Filesystem 1024-blocks Used Available Capacity Mounted on\\n'
        '//nas/a b 1000 400 600 40%% /mnt/my disk\\n";;\n'
        '*-Pi*) printf "Filesystem Inodes IUsed IFree IUse%% Mounted on\\noverlay 90 30 60 34%% /\\n";;\n'
        '*) printf "Filesystem 1024-blocks Used Available Capacity Mounted on\\noverlay 100 90 10 90%% /\\n";; esac',
    )
    facts = fake_box.facts("/mnt/my disk")
    disk = facts.disk("/mnt/my disk")
    assert disk is not None
    assert (disk.size, disk.free, disk.mount) == (1000 * 1024, 600 * 1024, "/mnt/my disk")
    assert (disk.source, disk.fs, disk.read_only, disk.inodes_free) == ("//nas/a b", "cifs", True, None)
    system = facts.disk("/")
    assert system is not None
    assert (system.size, system.free, system.inodes_free, system.fs) == (102400, 10240, 60, "overlay")


@pytest.mark.parametrize("with_timeout", [True, False])
def test_a_dead_network_disk(fake_box: FakeBox, with_timeout: bool) -> None:
    if not with_timeout:
        (fake_box.bin / "timeout").unlink()
    fake_box.write("root/autodl-fs/here", "")
    real = shutil.which("df")
    fake_box.program("df", f'case "$*" in *autodl-fs) exec sleep 300;; esac\nexec {real} "$@"')
    fake_box.env["GPUBOX_PROBE_WAIT"] = "1"
    facts = fake_box.facts()
    dead = facts.disk("/root/autodl-fs")
    assert dead is not None
    assert dead.hung or dead.size is None
    tmp = facts.disk("/tmp")
    assert tmp is not None
    assert tmp.writable
    assert not tmp.hung


def test_a_place_that_cannot_be_written(fake_box: FakeBox) -> None:
    fake_box.env["GPUBOX_PROBE_ROOT"] = ""
    disk = fake_box.facts("/proc/gpubox").disk("/proc/gpubox")
    assert disk is not None
    assert (disk.exists, disk.probed, disk.writable) == (False, "/proc", False)


def test_pythons(fake_box: FakeBox) -> None:
    interpreter = shutil.which("python3", path=os.defpath) or shutil.which("python3")
    assert interpreter
    (fake_box.bin / "python3").symlink_to(interpreter)
    fake_box.program("python3.9", "exit 1")
    conda = fake_box.write("root/miniconda3/bin/python", '#!/bin/sh\nprintf "3.8.10\\tyes\\tno\\tno\\t$0\\n"\n')
    conda.chmod(0o755)
    fake_box.write("root/miniconda3/bin/conda", "#!/bin/sh\n").chmod(0o755)
    facts = fake_box.facts()
    versions = {python.version: python for python in facts.pythons}
    assert len(facts.pythons) == 2
    assert versions["3.8.10"].path.endswith("/root/miniconda3/bin/python")
    assert (versions["3.8.10"].venv, versions["3.8.10"].ensurepip, versions["3.8.10"].pip) == (True, False, False)
    assert versions["3.8.10"].release == (3, 8, 10)
    assert facts.conda is not None
    assert facts.conda.endswith("/root/miniconda3/bin/conda")


def test_musl(fake_box: FakeBox) -> None:
    fake_box.program("getconf", "exit 1")
    fake_box.program("ldd", 'printf "musl libc (x86_64)\\nVersion 1.2.5\\nDynamic Program Loader\\n" >&2; exit 1')
    facts = fake_box.facts()
    assert (facts.system.libc, facts.system.libc_version) == ("musl", "1.2.5")


def test_glibc_without_getconf(fake_box: FakeBox) -> None:
    (fake_box.bin / "getconf").unlink()
    fake_box.program("ldd", 'echo "ldd (Ubuntu GLIBC 2.31-0ubuntu9.16) 2.31"')
    facts = fake_box.facts()
    assert (facts.system.libc, facts.system.libc_version) == ("glibc", "2.31")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://mei:s3cret@pypi.example/simple", "https://pypi.example/simple"),
        ("https://mei:p@ss@pypi.example/simple", "https://pypi.example/simple"),
        ("https://mei:p/ss@pypi.example/simple", "https://pypi.example/simple"),
        ("http://pypi.example/simple?token=s3cret", "http://pypi.example/simple"),
    ],
)
def test_index_url_without_secrets(fake_box: FakeBox, given: str, shown: str) -> None:
    fake_box.write("etc/pip.conf", f"[global]\nindex-url = {given}\n")
    assert fake_box.facts().pip.index_url == shown
    fake_box.env["PIP_INDEX_URL"] = given
    answer = fake_box.run().stdout
    assert parse(answer.decode()).pip.index_url == shown
    assert b"s3cret" not in answer


def test_ports(fake_box: FakeBox) -> None:
    header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    row = "   0: {at} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1\n"
    rows4 = [("0100007F:1F40", "0A", 11), ("00000000:1F41", "0A", 12), ("0A00000A:1F42", "0A", 13)]
    rows4 += [("0100007F:1F43", "01", 14)]
    rows6 = [("00000000000000000000000000000000:0016", "0A", 15), ("00000000000000000000000001000000:1F44", "0A", 16)]
    for name, rows in (("tcp", rows4), ("tcp6", rows6)):
        text = "".join(row.format(at=at, state=state, inode=inode) for at, state, inode in rows)
        fake_box.write(f"proc/net/{name}", header + text)
    fake_box.write("proc/412/comm", "jupyter-lab\n")
    (fake_box.root / "proc/412/fd").mkdir()
    (fake_box.root / "proc/412/fd/7").symlink_to("socket:[11]")
    fake_box.write("data/gpubox/services/vllm/service.json", '{"argv": ["vllm"], "port": 8001, "stop_seconds": 30}')
    fake_box.write("data/gpubox/converged.json", '{"digest": "5e1f", "bundle": "ab", "run": "r1", "at": "now"}')
    fake_box.env["GPUBOX_PORTS"] = "8000 8001"
    facts = fake_box.facts("/data")
    assert facts.listening == (8000, 8001, 22)
    assert facts.holders == {8000: "jupyter-lab (pid 412)"}
    assert facts.gpubox.service_ports == (8001,)
    assert facts.gpubox.digest == "5e1f"


def test_a_real_listener_is_seen(fake_box: FakeBox) -> None:
    fake_box.env["GPUBOX_PROBE_ROOT"] = ""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        fake_box.env["GPUBOX_PORTS"] = str(port)
        facts = fake_box.facts()
    assert port in facts.listening
    assert facts.holders[port].endswith(f"(pid {os.getpid()})")


NASTY = 'a "b" \\c\\n `id` $(id) %s \t tab 你好 ünï {"x":1}'


@pytest.mark.parametrize("with_iconv", [True, False])
def test_json_survives_anything(fake_box: FakeBox, with_iconv: bool) -> None:
    if not with_iconv:
        (fake_box.bin / "iconv").unlink()
    elif not (fake_box.bin / "iconv").exists():
        pytest.skip("iconv is not installed here")
    fake_box.cpus(2, model=NASTY)
    (fake_box.root / "proc/sys/kernel/hostname").write_bytes(b'caf\xe9 "\x01\x7f\\\n')
    fake_box.write("etc/os-release", f"ID='{NASTY}'\nPRETTY_NAME=\"{NASTY}\"\n")
    fake_box.env["SHELL"] = NASTY
    document = fake_box.raw(f"/{NASTY}")
    shown = NASTY.replace("\t", " ")
    if with_iconv:
        assert document["cpu"]["model"] == shown
        assert document["system"]["os_name"] == shown
        assert document["system"]["hostname"] == 'caf "\\'
    else:
        # Without iconv no byte outside ASCII can be trusted to be whole.
        assert document["cpu"]["model"].startswith('a "b" \\c\\n `id` $(id) %s   tab ??')
        assert document["system"]["hostname"] == 'caf? "\\'
    assert document["system"]["shell"].startswith('a "b" \\c')
    assert document["disks"][-1]["path"].startswith('/a "b" \\c')


def test_a_tilde_is_the_home(fake_box: FakeBox) -> None:
    assert fake_box.facts("~/data").gpubox.root == "/home/box/data/gpubox"


def test_autodl_marks_and_default_place(fake_box: FakeBox) -> None:
    assert not fake_box.facts().autodl.likely
    assert fake_box.facts().gpubox.root == "/home/box/gpubox-data/gpubox"
    fake_box.write("proc/sys/kernel/hostname", "autodl-container-2dee4c9145-b0f2fdc8\n")
    fake_box.write("init/boot/boot.sh", "")
    fake_box.write("etc/network_turbo", "")
    fake_box.write("root/autodl-tmp/x", "")
    facts = fake_box.facts()
    assert facts.autodl.likely
    assert facts.gpubox.root == "/root/autodl-tmp/gpubox"


def test_an_empty_root_is_no_error(fake_box: FakeBox) -> None:
    for path in ("proc", "sys", "etc", "dev"):
        shutil.rmtree(fake_box.root / path)
    facts = fake_box.facts()
    assert facts.cpu.effective == 0
    assert facts.memory.effective == 0


def test_a_cut_off_script_prints_nothing(fake_box: FakeBox) -> None:
    half = PROBE[: PROBE.rindex("\nmain ")].encode()
    done = subprocess.run([*fake_box.shell, "-s"], input=half, capture_output=True, check=False, timeout=30)
    assert done.stdout == b""


def test_this_machine_is_quick() -> None:
    began = time.monotonic()
    done = subprocess.run(
        command(None), shell=True, input=PROBE, capture_output=True, text=True, check=True, timeout=60
    )
    assert parse(done.stdout).cpu.effective > 0
    # About 0.1 s on an idle machine; the bound is for one that is busy with other tests.
    assert time.monotonic() - began < 30


def test_shellcheck() -> None:
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("shellcheck is not installed here")
    path = Path(facts_module.__file__).with_name("probe.sh")
    done = subprocess.run([program, "--shell=sh", str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout
