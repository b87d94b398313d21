"""``featx doctor``: what featx needs of this machine, and whether it is there."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import click

from featx.cli import options
from featx.cli.output import Output
from featx.cli.text import human_bytes

OK, WARN, FAIL = "ok", "warn", "fail"

LITTLE_MEMORY = 4_000_000_000
LITTLE_DISK, NO_DISK = 10_000_000_000, 200_000_000
"""Bytes below which doctor warns, or fails."""

_REFUSED = 3
_ASK = f"""
import fcntl, sys
file = open(sys.argv[1], "r+b")
for lock in fcntl.flock, fcntl.lockf:
    try:
        lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        continue
    sys.exit(0)
sys.exit({_REFUSED})
"""
"""Asks for locks that another process holds."""

WEIGHT_FILES = (".pth", ".pt", ".safetensors")


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, ``ok``, ``warn`` or ``fail``, and what was found."""

    name: str
    status: str
    detail: str


@click.command
@options.common
def doctor(out: Output, home: Path) -> None:
    """Check that this machine has what featx needs.

    One line per check: ok, warn (slow, or low on resources) or fail (featx will not work). The exit code is 1 if a
    check fails. Nothing is left on the disk.

    \b
    Examples:
      featx doctor
      featx doctor --home /scratch/featx --json
    """
    checks = list(examine(home))
    for check in checks:
        out.say(f"{check.status:<5} {check.name:<13} {check.detail}")
    out.exit_code = int(any(check.status == FAIL for check in checks))
    out.result({"checks": [asdict(check) for check in checks]})


def examine(home: Path) -> Iterable[Check]:
    """Yield all checks, quick ones first."""
    yield python()
    yield from packages()
    yield threads()
    yield memory()
    yield bf16()
    yield devices()
    yield from places(home)
    yield weights()


def python() -> Check:
    """Check the interpreter's version."""
    found = ".".join(map(str, sys.version_info[:3]))
    fine = sys.version_info >= (3, 11)
    return Check("python", OK if fine else FAIL, found if fine else f"{found}, expected 3.11 or later")


def packages() -> Iterable[Check]:
    """Check that what featx was installed with is there, in the versions its metadata asks for."""
    try:
        wanted = metadata.requires("featx") or []
    except metadata.PackageNotFoundError:
        yield Check("featx", FAIL, "not installed, run `pip install -e .` in its folder")
        return
    for requirement in wanted:
        match = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement.replace(" ", ""))
        if match:
            yield package(match[1], match[2])


def package(name: str, least: str) -> Check:
    """Check one package's version without importing it."""
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, FAIL, f"missing, expected {least} or later")
    if numbers(found) < numbers(least):
        return Check(name, FAIL, f"{found}, expected {least} or later")
    return Check(name, OK, found)


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's leading numbers: ``2.4.1+cpu`` -> (2, 4, 1)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def threads() -> Check:
    """Tell how many processors this process may use."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS")
    return Check("processors", OK, f"{n}" + (f", OMP_NUM_THREADS={limit}" if limit else ""))


def memory() -> Check:
    """Check the memory of the machine, or of the container if that is less."""
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    allowed = read_text(Path("/sys/fs/cgroup/memory.max")).strip()
    have = min(have, int(allowed)) if allowed.isdigit() else have
    return Check("memory", OK if have >= LITTLE_MEMORY else WARN, human_bytes(have))


def bf16() -> Check:
    """Tell whether the processor multiplies bfloat16; only a hint for --precision."""
    flags = read_text(Path("/proc/cpuinfo"))
    if not flags:
        return Check("bf16", OK, "unknown: the processor does not report it")
    if re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", flags):
        return Check("bf16", OK, "supported by the processor: --precision bf16 can be faster")
    return Check("bf16", OK, "not supported by the processor: --precision bf16 would not be faster")


def devices() -> Check:
    """Check that torch can be imported, and name the CUDA devices it sees."""
    try:
        import torch
    except Exception as exc:
        return Check("cuda", FAIL, f"torch cannot be imported: {exc}")
    if not torch.cuda.is_available():
        return Check("cuda", OK, f"none, the CPU is used with {torch.get_num_threads()} threads")
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return Check("cuda", OK, ", ".join(f"{device.name} {human_bytes(device.total_memory)}" for device in found))


def places(home: Path) -> Iterable[Check]:
    """Check the home folder: writable, room, file locks. It is not created."""
    folder = next(path for path in (home, *home.parents) if os.path.lexists(path))
    where = str(home) if folder == home else f"{home} (to be created in {folder})"
    writable = attempt("home", lambda: try_writing(folder), f"writable: {where}")
    yield writable
    yield disk(folder)
    if writable.status == OK:  # else there is nowhere to try
        yield locks(folder)


def attempt(name: str, action: Callable[[], None], fine: str) -> Check:
    """Return a check that fails with the system's words."""
    try:
        action()
    except OSError as exc:
        return Check(name, FAIL, f"{exc.strerror or exc}: choose another place with --home or FEATX_HOME")
    return Check(name, OK, fine)


def locks(folder: Path) -> Check:
    """Check that a file's lock keeps other processes out; featx works without, only less well."""
    name, cost = "file locks", "several processes with the same home may compute the same features twice"
    try:
        kept_out = try_locking(folder)
    except OSError as exc:
        return Check(name, WARN, f"{exc.strerror or exc}: {cost}")
    return Check(name, OK, "work") if kept_out else Check(name, WARN, f"two processes can hold the same lock: {cost}")


def try_writing(folder: Path) -> None:
    """Write and remove a file; OSError if that fails."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".featx-doctor-") as file:
        file.write(b"featx")


def try_locking(folder: Path) -> bool:
    """Lock a temporary file in both ways that featx does; return whether another process is then refused."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".featx-doctor-") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ask = subprocess.run([sys.executable, "-c", _ASK, file.name], capture_output=True, check=False)
        return ask.returncode == _REFUSED


def disk(folder: Path) -> Check:
    """Check the room on the file system that holds `folder`."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as exc:
        return Check("disk", FAIL, exc.strerror or str(exc))
    return Check("disk", FAIL if free < NO_DISK else WARN if free < LITTLE_DISK else OK, f"{human_bytes(free)} free")


def weights() -> Check:
    """Name the weight files that torch has downloaded already."""
    try:
        from torch import hub
    except Exception as exc:
        return Check("weights", FAIL, f"torch cannot be imported: {exc}")
    folder = Path(hub.get_dir()) / "checkpoints"
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in WEIGHT_FILES)
    except OSError:
        files = []
    listed = ", ".join(f"{path.name} ({human_bytes(path.stat().st_size)})" for path in files)
    return Check("weights", OK, f"{folder}: {listed or 'none yet'}")


def read_text(path: Path) -> str:
    """Return a small system file's text, or nothing where there is none."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
