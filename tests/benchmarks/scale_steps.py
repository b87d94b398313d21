"""The steps of scale.py, each run in a process of its own: python scale_steps.py STEP FOLDER SETTINGS."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featx.cache.folder import KeyFolder, lay_out, receipt_name, sealed_file
from featx.cache.key import FeatureKey
from featx.cache.memo import Memo
from featx.cache.schema import Plan, Receipt, fingerprint, plan_shard_rows, shard_image
from featx.cache.store import FeatureStore
from featx.core import atomic
from featx.core.specs import PreprocessSpec

Array = np.ndarray[Any, Any]


@dataclass
class Step:
    """One step under way: where its files are, how many rows, and what it has to say."""

    folder: Path
    rows: int
    columns: int
    shard_rows: int
    sync: bool
    began: float = 0.0
    began_cpu: float = 0.0
    seconds: float = 0.0
    cpu: float = 0.0
    held: float = 0.0
    note: str = ""

    @property
    def plan(self) -> Plan:
        rows = self.shard_rows or plan_shard_rows(self.rows, 2 * self.columns)
        return Plan(256, rows, rows, self.columns, "float16", ("fc1",))

    def key(self, rows: str, n_rows: int) -> FeatureKey:
        preprocess = asdict(PreprocessSpec(32, 28))
        return FeatureKey(rows, n_rows, "lenet5", "0" * 64, "fc1", preprocess, dtype="float16")

    def begin(self) -> None:
        """Start the clock: what stands in memory now was there before."""
        self.held = memory("VmRSS")
        self.began, self.began_cpu = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """Stop the clock; the first call counts."""
        if not self.seconds:
            self.seconds, self.cpu = time.perf_counter() - self.began, time.process_time() - self.began_cpu


def memory(field: str) -> float:
    # ru_maxrss would be inherited from the parent that started us; VmHWM is of this program alone.
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) / 1024


def names_of(n: int) -> list[str]:
    return [f"train/{row:08d}.jpg" for row in range(n)]


def hashes_of(n: int, seed: int = 0) -> Array:
    """Return row hashes; every hundredth row equals the one before it."""
    hashes = np.random.default_rng(seed).integers(0, 256, (n, 32), np.uint8)
    hashes[100::100] = hashes[99:-1:100]
    return hashes


def values(step: Step, rows: Array) -> Array:
    return np.repeat((rows % 1000).astype(np.float16)[:, None], step.columns, 1)


def put_all(step: Step, home: Path, stop: float = 1.0) -> None:
    """Write a key, up to a share of its shards."""
    hashes, ids = hashes_of(step.rows), names_of(step.rows)
    key = step.key(fingerprint(hashes), step.rows)
    step.begin()
    with FeatureStore(home).writer(key, step.plan, ids, hashes, {"source": "photos"}) as writer:
        first = time.perf_counter() - step.began
        blocks = writer.blocks()
        for block in blocks[: int(len(blocks) * stop)]:
            writer.claim(block)
            rows = writer.due(block)
            writer.put(rows, values(step, rows))
    step.end()
    step.note = f"{len(blocks):,} shards missing; {first:.2f} s before the first"


def write(step: Step) -> None:
    put_all(step, step.folder / "all")


def the_key(step: Step) -> str:
    return digest_in(step.folder / "all")


def digest_in(home: Path) -> str:
    return next(name for name in os.listdir(home / "features") if len(name) == 64)


def open_table(step: Step) -> None:
    store, digest = FeatureStore(step.folder / "all"), the_key(step)
    step.begin()
    table = store.open(digest)
    assert table.shape == (step.rows, step.columns)
    first = time.perf_counter() - step.began
    FeatureStore(step.folder / "all").open(digest)
    step.note = f"of which again {time.perf_counter() - step.began - first:.2f} s"


def ls(step: Step) -> None:
    store = FeatureStore(step.folder / "all")
    step.begin()
    (entry,) = store.ls()
    assert entry.complete
    step.note = f"{entry.bytes:,} bytes"


def read(step: Step) -> None:
    table = FeatureStore(step.folder / "all").open(the_key(step))
    step.begin()
    for _ in table.iter_chunks():
        pass
    rows = np.random.default_rng(0).choice(step.rows, 1000)
    assert np.array_equal(table.X[rows], values(step, np.where((rows % 100 == 0) & (rows > 0), rows - 1, rows)))


def ids(step: Step) -> None:
    table = FeatureStore(step.folder / "all").open(the_key(step))
    step.begin()
    names = table.ids
    assert (len(names), names[0], names[-1]) == (step.rows, "train/00000000.jpg", f"train/{step.rows - 1:08d}.jpg")


def resume(step: Step) -> None:
    """Finish a key of which every second shard is there."""
    half(step.folder / "all", step.folder / "half", 0)
    put_all(step, step.folder / "half")
    shutil.rmtree(step.folder / "half")


def half(home: Path, to: Path, which: int) -> None:
    """Make a store that has every second shard of another one; its files are links to the same bytes."""
    digest = digest_in(home)
    source, folder = home / "features" / digest, to / "features" / digest
    (folder / "shards").mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file():
            os.link(path, folder / path.name)
    for path in (source / "shards").iterdir():
        if int(path.name[:5]) % 2 == which:
            os.link(path, folder / "shards" / path.name)


def reuse(step: Step) -> None:
    """Find what a data set that grew by a half has from before."""
    grown = np.concatenate([hashes_of(step.rows)[step.rows // 2 :], hashes_of(step.rows // 2, seed=1)])
    key = step.key(fingerprint(grown), len(grown))
    step.begin()
    (reusable,) = FeatureStore(step.folder / "all").reuse_index().reusable(key, grown)
    assert step.rows // 2 <= len(reusable.rows) <= len(grown)
    step.note = f"{len(reusable.rows):,} rows lent"


def merge(step: Step) -> None:
    from featx.cache.merge import check_parts, copy_parts, plan_merge

    homes = [step.folder / "even", step.folder / "odd"]
    for which, home in enumerate(homes):
        half(step.folder / "all", home, which)
    target = FeatureStore(step.folder / "merged")
    step.begin()
    parts = plan_merge(target, homes)
    planned = time.perf_counter() - step.began
    check_parts(parts, lambda n: None)
    copy_parts(target, parts, lambda n: None)
    step.end()
    step.note = f"planned in {planned:.2f} s; {sum(len(part.shards) for part in parts):,} shards copied"
    for home in (*homes, step.folder / "merged"):
        shutil.rmtree(home)


def verify(step: Step) -> None:
    from featx.cache.verify import verify_key

    folder = KeyFolder(step.folder / "all" / "features" / the_key(step))
    step.begin()
    assert not verify_key(folder, lambda n: None).faults


class _Known:
    """Row hashes of one Parquet file that are all known."""

    def __init__(self, n: int) -> None:
        self._known = np.zeros((n, 32), np.uint8)

    def get(self, rows: Array, digest: Callable[[int], bytes]) -> Array:
        return self._known[rows]


@dataclass
class _Shard:
    """What `ParquetFiles` asks of a file whose hashes are known."""

    n: int
    hashes: _Known

    def __len__(self) -> int:
        return self.n


def parquet(step: Step) -> None:
    """Hash the rows of as many files as have 10,000 rows each, all remembered."""
    from featx.data.parquet import ParquetFiles

    n = min(step.rows, 10_000)
    shards: Any = {"train": [_Shard(n, _Known(n)) for _ in range(step.rows // n)]}
    files = ParquetFiles("photos", shards)
    step.begin()
    names = files.names()
    assert files.hashes(names).shape == (len(names), 32)
    step.note = f"{len(shards['train']):,} files"


def remember(step: Step, n: int) -> int:
    """Hash files that exist by name only; return how many were read."""
    from featx.data import files

    read: list[int] = []

    def hash_all(_: Any, names: Sequence[str]) -> Array:
        read.append(len(names))
        return np.random.default_rng(0).integers(0, 256, (len(names), 32), np.uint8)

    names = names_of(n)
    stamps = np.arange(4 * n, dtype=np.uint64).reshape(n, 4) + np.uint64(1)
    names_only: Any = files
    names_only.hash_all = hash_all
    names_only.FolderFiles._stamps = lambda self, names: stamps
    names_only.FolderFiles._is_settled = lambda self, name, stamp, digest: True
    folder = files.FolderFiles(step.folder, Memo(step.folder / "home"))
    folder._listed = files.tags(names)
    step.begin()
    folder.hashes(names)
    return sum(read)


def files_first(step: Step) -> None:
    step.note = f"{remember(step, step.rows):,} files read"


def files_one_more(step: Step) -> None:
    step.note = f"{remember(step, step.rows + 1):,} files read"


def giant(step: Step) -> None:
    """Lay out a key whose receipts are real, and whose shards, ids and row hashes are holes of the right size."""
    n, plan = step.rows, step.plan
    key = step.key("0" * 64, n)
    path = step.folder / "home" / "features" / key.digest
    nothing = np.empty((0, 32), np.uint8)
    step.begin()
    lay_out(path, key.as_dict(), plan, [], nothing, np.zeros(n, bool), {"source": "the web"})
    for name, size in (("rows.bin", 32 * n), ("ids.json", 20 * n)):
        os.truncate(path / name, size)
    _, offset = shard_image(np.zeros((plan.shard_rows, plan.columns), plan.stored), key.digest, 0)
    for index in range(plan.shards(n)):
        start, stop = plan.span(index, n)
        size = offset + (stop - start) * plan.row_bytes
        receipt = Receipt(index, start, stop, f"{index:064x}", size, offset, versions={"featx": "0"})
        hole = path / "shards" / receipt.file
        hole.touch()
        os.truncate(hole, size)
        atomic.write_json(path / "shards" / receipt_name(index), sealed_file(key.digest, receipt=receipt.as_dict()))
    old = time.time() - 60  # as long ago as any store that is opened
    os.utime(path / "shards", (old, old))
    step.note = f"{plan.shards(n):,} receipts of {plan.shard_rows:,} rows"


def giant_open(step: Step) -> None:
    atomic.has_hole = lambda fd, size: False
    home = step.folder / "home"
    step.begin()
    table = FeatureStore(home).open(digest_in(home))
    assert len(table) == step.rows
    step.note = f"{len(os.listdir(table.path / 'shards')):,} files in shards/"


def giant_ls(step: Step) -> None:
    step.begin()
    (entry,) = FeatureStore(step.folder / "home").ls()
    assert entry.complete
    step.note = f"{entry.bytes:,} bytes"


STEPS: dict[str, Callable[[Step], None]] = {
    "write": write,
    "open": open_table,
    "ls": ls,
    "read": read,
    "ids": ids,
    "resume": resume,
    "reuse": reuse,
    "merge": merge,
    "verify": verify,
    "parquet": parquet,
    "files, first": files_first,
    "files, again": files_first,
    "files, one more": files_one_more,
    "giant, made": giant,
    "giant, first open": giant_open,
    "giant, open": giant_open,
    "giant, ls": giant_ls,
}


def main() -> None:
    name, folder, given = sys.argv[1:]
    step = Step(Path(folder), **json.loads(given))
    if not step.sync:
        os.fsync = lambda fd: None
    STEPS[name](step)
    step.end()
    found = {"seconds": step.seconds, "cpu": step.cpu, "held": step.held, "peak": memory("VmHWM"), "note": step.note}
    print(json.dumps({"shards": step.plan.shards(step.rows), **found}))


if __name__ == "__main__":
    main()
