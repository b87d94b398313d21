"""The extractions that are attacked, the processes that run them, and what a store that survived has to look like."""

from __future__ import annotations

import hashlib
import json
import mmap
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from fillings import go, lenet5
from PIL import Image

from featx.cache.folder import KeyFolder
from featx.cache.store import FeatureStore
from featx.data.arrays import ArraySource
from featx.data.sources import Source, load_source
from featx.errors import FeatxError, StoreError
from featx.extraction import fill_store
from featx.extraction.extract import ExtractResult
from featx.extraction.forward import Forward

PATIENCE = 120.0
"""Seconds after which a process counts as hanging; an extraction takes a fraction of one."""

PIXELS = np.random.default_rng(5).integers(0, 256, (88, 8, 8, 1), np.uint8)
FEW, MANY = 4, 8
"""Rows of a shard of a layer with long rows, and with short ones: shards end at different rows."""

BLOCK_ROWS = MANY
_UNSTABLE = ("seconds", "created")
_LOCAL = ("used", "lock", ".lock")


@dataclass(frozen=True)
class Work:
    """One extraction of two layers.

    Parameters
    ----------
    name : str
        For the table.
    rows : tuple of int
        Which images, in order; one that occurs twice is a duplicate.
    before : tuple of int
        Images that were extracted before, and lend their rows.
    folder : Path, optional
        Read the images from files there.
    """

    name: str
    rows: tuple[int, ...]
    before: tuple[int, ...] = ()
    folder: Path | None = None

    @property
    def images(self) -> int:
        """Images that have to go through the network."""
        return len(set(self.rows) - set(self.before))

    def source(self) -> Source:
        """Return the images."""
        return load_source(self.folder) if self.folder else ArraySource(PIXELS[list(self.rows)])

    def run(self, home: Path) -> ExtractResult:
        """Extract; the rows of `before` are there already."""
        return go(self.source(), home, lenet5())

    def prepare(self, home: Path) -> None:
        """Extract the rows that lend, if any."""
        if self.before:
            go(ArraySource(PIXELS[list(self.before)]), home, lenet5())


def works(scratch: Path, n: int = 88) -> list[Work]:
    """Return the extractions: of arrays, with duplicates, of a data set that grew, and of files."""
    folder = scratch / "images"
    folder.mkdir(exist_ok=True)
    for i, image in enumerate(PIXELS[:n]):
        Image.fromarray(image[..., 0]).save(folder / f"{i:03d}.png")
    rng = np.random.default_rng(1)
    rows = tuple(range(n))
    twice = tuple(rng.permutation([*rows, *rows[::3]]).tolist())
    return [
        Work("arrays", rows),
        Work("duplicates", twice),
        Work("grown", twice, tuple(rng.permutation(n)[: n // 2].tolist())),
        Work("files", rows, folder=folder),
    ]


def small_shards() -> None:
    """Cut small shards in this process and in those that it forks."""
    fill_store.plan_shard_rows = lambda n_rows, row_bytes: FEW if row_bytes > 100 else MANY  # type: ignore[assignment]


class Counters:
    """Numbers that processes share, and that outlive a killed one."""

    def __init__(self, slots: int) -> None:
        self.values = np.frombuffer(mmap.mmap(-1, 8 * slots), np.int64)

    def __getitem__(self, slot: int) -> int:
        return int(self.values[slot])

    def add(self, slot: int, n: int = 1) -> None:
        """Add to a slot; only one process at a time may do so."""
        self.values[slot] += n


def count_images(counters: Counters, slot: int, then: Callable[[], None] | None = None) -> None:
    """Count the images that go through the network in this process; `then` runs before each batch."""
    run = Forward.__call__

    def counted(self: Forward, *views: Any) -> Any:
        counters.add(slot, len(views[0]))
        if then is not None:
            then()
        return run(self, *views)

    Forward.__call__ = counted  # type: ignore[method-assign]


def started(work: Callable[[], object]) -> BaseProcess:
    """Run `work` in a forked process: torch is loaded already. What goes wrong is printed, in a line."""

    def told() -> None:
        try:
            work()
        except Exception as exc:
            print(f"  {type(exc).__name__}: {exc}", flush=True)
            sys.exit(1)

    process = multiprocessing.get_context("fork").Process(target=told)
    process.start()
    return process


def ended(process: BaseProcess, seconds: float = PATIENCE) -> int | None:
    """Return a process's exit code; None where it hangs, and was killed for it."""
    process.join(seconds)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    return code


def run_alone(work: Callable[[], object]) -> int | None:
    """Run `work` in a forked process to its end."""
    return ended(started(work))


@dataclass(frozen=True)
class Truth:
    """An uninterrupted run: the store before it, and what lies in it afterwards."""

    before: Path
    files: dict[str, Any]

    @classmethod
    def of(cls, work: Work, scratch: Path) -> Truth:
        """Run `work` in a process of its own."""
        before, home = scratch / f"{work.name}-before", scratch / f"{work.name}-whole"

        def whole() -> None:
            work.prepare(before)
            if before.exists():
                shutil.copytree(before, home)
            work.run(home)

        if run_alone(whole) != 0:
            raise RuntimeError(f"the uninterrupted run of {work.name} failed")
        return cls(before, contents(home))

    def fresh(self, home: Path) -> Path:
        """Make `home` the store before the run."""
        shutil.rmtree(home, ignore_errors=True)
        if self.before.exists():
            shutil.copytree(self.before, home)
        return home

    def differs(self, home: Path) -> int:
        """Return the number of files that are not as they should be, absent and superfluous ones included."""
        found = contents(home)
        names = {*found, *self.files}
        return sum(found.get(name) != self.files.get(name) for name in names)


def contents(home: Path) -> dict[str, Any]:
    """Return the bytes of all files of a store's keys, without what differs from run to run: times."""
    features = home / "features"
    files = [path for path in features.rglob("*") if path.is_file() and path.name not in _LOCAL]
    return {str(path.relative_to(features)): _stable(path) for path in files}


def _stable(path: Path) -> Any:
    data = path.read_bytes()
    if path.name == "about.json" or (path.suffix == ".json" and path.parent.name == "shards"):
        body = json.loads(data)
        inner = body.get("receipt") or body.get("about")
        return {name: value for name, value in inner.items() if name not in _UNSTABLE}
    return data


def bad_receipts(home: Path) -> int:
    """Return the number of receipts that are damaged, or that point to a shard which is not theirs."""
    bad = 0
    for path in (home / "features").glob("?" * 64):
        folder = KeyFolder(path)
        try:
            plan, n_rows = folder.plan().plan, folder.key()["n_rows"]
        except StoreError:
            bad += len(folder.receipt_numbers())
            continue
        for index in folder.receipt_numbers():
            try:
                receipt = folder.receipt(index, plan, n_rows)
                data = (folder.shards / receipt.file).read_bytes()
                bad += hashlib.sha256(data).hexdigest() != receipt.sha256
            except (FeatxError, OSError):
                bad += 1
    return bad


def unreadable(home: Path) -> int:
    """Return the number of keys that say they are complete and cannot be read."""
    store, bad = FeatureStore(home), 0
    for path in (home / "features").glob("?" * 64):
        if store.is_complete(path.name):
            try:
                np.asarray(store.open(path.name).X)
            except FeatxError:
                bad += 1
    return bad


def temporaries(home: Path) -> set[Path]:
    """Return the temporary files and folders below a store."""
    return {
        Path(folder, name) for folder, *names in os.walk(home) for part in names for name in part if ".tmp-" in name
    }
