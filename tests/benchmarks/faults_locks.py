"""Stores on file systems that cannot be written, or that have no locks."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from faults_table import Line, Options
from faults_work import Truth, run_alone, small_shards, works
from faults_writers import no_locks
from fillings import CONFIG, lenet5

from featx.cache.store import FeatureStore
from featx.cli import doctor
from featx.data.arrays import ArraySource
from featx.data.splits import Part, Partition
from featx.errors import StoreError
from featx.probes.probe import fit_probe

PROMISE = "read-only, lock-less"
NOBODY = 65534


def attack(options: Options) -> Iterator[Line]:
    """Read, write and ask `featx doctor` on a store that is read-only, and on one whose locks fail."""
    small_shards()
    yield read_only(options.scratch)
    yield without_locks(options.scratch)


def read_only(scratch: Path) -> Line:
    """Fit from a store that cannot be written; what would write says why."""
    faults: Counter[str] = Counter(not_read=0, not_refused=0, not_told_by_doctor=0, changed=0)
    source, home = (
        ArraySource(np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)),
        scratch / "read-only",
    )
    source.labels = np.arange(40) % 2
    source.classes = ("a", "b")
    parts = Partition(Part(source, np.arange(24)), Part(source, np.arange(24, 32)), Part(source, np.arange(32, 40)), 0)

    def fit(layer: str) -> None:
        fit_probe(parts, lenet5(), layer, FeatureStore(home), CONFIG)

    scratch.chmod(0o755)
    assert run_alone(lambda: fit("fc1")) == 0
    before = sorted((str(path), path.stat().st_mtime_ns) for path in home.rglob("*"))
    with _unwritable(home) as become_reader:

        def read() -> None:
            become_reader()
            fit("fc1")

        def write() -> None:
            become_reader()
            try:
                fit("fc2")
            except StoreError as exc:
                os._exit(7 if "read-only" in exc.message and "FEATX_HOME" in exc.hint else 8)

        def ask() -> None:
            become_reader()
            checks = {check.name: check.status for check in doctor.places(home)}
            os._exit(7 if checks["home"] == doctor.FAIL else 8)

        faults["not_read"] += run_alone(read) != 0
        faults["not_refused"] += run_alone(write) != 7
        faults["not_told_by_doctor"] += run_alone(ask) != 7
    faults["changed"] += before != sorted((str(path), path.stat().st_mtime_ns) for path in home.rglob("*"))
    return Line(PROMISE, "fit, extract and doctor on a read-only store", 3, faults)


def without_locks(scratch: Path, few: int = 3) -> Line:
    """Extract and ask doctor where each lock fails with ENOLCK."""
    faults: Counter[str] = Counter(failed=0, unequal=0, not_told_by_doctor=0)
    todo = works(scratch, 24)[:few]
    for work in todo:
        truth, home = Truth.of(work, scratch), scratch / "lock-less"
        truth.fresh(home)

        def run(work=work, home=home) -> None:  # type: ignore[no-untyped-def]
            no_locks()
            work.run(home)

        faults["failed"] += run_alone(run) != 0
        faults["unequal"] += truth.differs(home)

    def ask() -> None:
        no_locks()
        checks = {check.name: check.status for check in doctor.places(scratch)}
        os._exit(7 if checks["file locks"] == doctor.WARN else 8)

    faults["not_told_by_doctor"] += run_alone(ask) != 7
    return Line(PROMISE, "extract and doctor, ENOLCK", len(todo) + 1, faults)


@contextmanager
def _unwritable(home: Path) -> Iterator[Callable[[], None]]:
    """Make a folder read-only; yields what a process has to do to be bound by it."""
    if os.geteuid() == 0 and not subprocess.run(["mount", "--bind", home, home], check=False).returncode:
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", home], check=True)
            yield lambda: None
        finally:
            subprocess.run(["umount", home], check=True)
        return
    folders = [home, *(path for path in home.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        # Root may write everywhere: the process becomes somebody else first.
        yield lambda: os.setuid(NOBODY) if os.geteuid() == 0 else None
    finally:
        for path in folders:
            path.chmod(0o755)
