"""A full disk stops an extraction, says what it needs, and harms nothing."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from faults_edges import At, before_each, no_room
from faults_table import Line, Options
from faults_work import Truth, Work, bad_receipts, small_shards, temporaries, unreadable, works

from featx.errors import DiskFullError, StoreError

PROMISE = "disk full"
FULL_AT = ("open", "write", "fsync", "replace", "rename", "mkdir")
"""What needs room; removing does not."""

FEATX = (sys.executable, "-c", "from featx.cli.main import main; main()")


def attack(options: Options) -> Iterator[Line]:
    """ENOSPC at each change of the disk, a limit on the size of files at each size, and a small tmpfs."""
    small_shards()
    for work in works(options.scratch, 24)[:3]:
        truth = Truth.of(work, options.scratch)
        home = options.scratch / "home"
        for lasting in (False, True):
            yield at_each_edge(work, truth, home, lasting)
        yield at_each_size(work, truth, home)
    yield small_disk(options.scratch)


def at_each_edge(work: Work, truth: Truth, home: Path, lasting: bool, step: int = 1) -> Line:
    """Fail once, or from then on, at each change of the disk; then resume."""
    faults = _faults()
    attempts = 0
    while True:
        edge = At(attempts * step, no_room, lasting)
        _starve(work, truth, home, before_each(edge, FULL_AT), faults)
        if edge.seen <= edge.number:
            what = "from each change of the disk on" if lasting else "at each change of the disk"
            return Line(PROMISE, f"ENOSPC {what}, {work.name}", attempts, faults)
        attempts += 1


def at_each_size(work: Work, truth: Truth, home: Path) -> Line:
    """Allow files of at most each size that is written, less one byte, and half of it."""
    faults = _faults()
    _starve(work, truth, home, nullcontext(), faults)
    sizes = {path.stat().st_size for path in home.rglob("*") if path.is_file()}
    limits = sorted({limit for size in sizes if size for limit in (size - 1, size // 2)})
    refused = 0
    for limit in limits:
        refused += _starve(work, truth, home, _limited(limit), faults)
    return Line(PROMISE, f"RLIMIT_FSIZE below each size, {work.name}", len(limits), faults, {"refused": refused})


def small_disk(scratch: Path) -> Line:
    """Run the real command on tmpfs of rising sizes: extract, export, and the folder of a run."""
    faults: Counter[str] = Counter(wrong_exit=0, not_named=0, temporary=0, not_resumed=0)
    disk = scratch / "tmpfs"
    disk.mkdir()
    extract = ("extract", "digits", "-b", "lenet5", "--weights", "random:0", "-l", "conv1:avg", "-l", "fc1", "--quiet")
    export = (*extract, "-o", str(disk / "out.h5"))
    fit = ("fit", "digits", "--pixels", "--quiet", "--max-iter", "5")
    # Full at the key's files, at a shard, at the exported copy of what could be stored, and in a run's folder.
    sizes = {"64k": extract, "500k": extract, "1400k": export, "8k": fit}
    attempts = 0
    for size, command in sizes.items():
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=False).returncode:
            print(f"  {size} tmpfs: SKIPPED, mounting is not allowed here", flush=True)
            continue
        try:
            attempts += 1
            _on_small_disk(command, disk, faults)
        finally:
            subprocess.run(["umount", disk], check=True)
    return Line(PROMISE, "a small tmpfs, the command itself", attempts, faults)


def _on_small_disk(command: tuple[str, ...], disk: Path, faults: Counter[str]) -> None:
    home = disk / "home"
    line = [*FEATX, *command, "--home", str(home)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode != 5:
        print(f"  exit {done.returncode} on {command}: {done.stderr[-300:]}", flush=True)
    faults["wrong_exit"] += done.returncode != 5
    faults["not_named"] += "bytes needed" not in done.stderr
    faults["temporary"] += len(temporaries(disk)) + bad_receipts(home) + unreadable(home)
    subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
    faults["not_resumed"] += subprocess.run(line, capture_output=True, check=False).returncode != 0


def _faults() -> Counter[str]:
    return Counter(wrong_error=0, not_named=0, temporary=0, harmed=0, unequal=0)


def _starve(
    work: Work,
    truth: Truth,
    home: Path,
    starving: AbstractContextManager[None],
    faults: Counter[str],
) -> bool:
    """Run under a limit, then without; return whether the first run was refused."""
    truth.fresh(home)
    refused = False
    try:
        with starving:
            work.run(home)
    except DiskFullError as exc:
        refused = True
        faults["not_named"] += "bytes needed" not in exc.message
        faults["temporary"] += len(temporaries(home))
    except (StoreError, OSError) as exc:
        print(f"  {type(exc).__name__}: {exc}", flush=True)
        faults["wrong_error"] += 1
    faults["harmed"] += bad_receipts(home) + unreadable(home)
    work.run(home)
    faults["unequal"] += truth.differs(home)
    return refused


@contextmanager
def _limited(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
