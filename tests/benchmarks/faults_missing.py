"""Each shard gone, or something else in its place: no reader fills in what is not there."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from faults_child import in_children
from faults_damage import CONFIG, LAYER, Victim, victim
from faults_table import Line, Options

from featx.cache.export import export
from featx.cache.merge import check_parts, copy_parts, plan_merge
from featx.cache.store import FeatureStore
from featx.data.sources import load_splits
from featx.extraction.extract import extract


def missing(options: Options) -> list[Line]:
    """Take each shard away in each way, and read through each reader."""
    attacked = victim(options.scratch)
    ways = dict(WAYS)
    if os.geteuid() == 0:
        del ways["unreadable"]
        print("  NOT TRIED: an unreadable shard, for the superuser reads it all the same", flush=True)
    shards = [path.name for path in sorted((attacked.folder / "shards").glob("*.h5"))]
    tries = [(shard, way, reader) for shard in shards for way in ways for reader in READERS]
    works = [partial(_try, attacked, shard, ways[way], READERS[reader]) for shard, way, reader in tries]
    faults = dict.fromkeys(("silent fills", "crashes", "hangs", "other errors", "unnamed"), 0)
    notes: Counter[str] = Counter()
    for (shard, way, reader), outcome in zip(tries, in_children(works), strict=True):
        found = {"crash": "crashes", "hang": "hangs", "error": "other errors"}.get(outcome.kind, "")
        if outcome.kind == "ok" and not outcome.value:
            found = "silent fills"
        if outcome.kind == "refused" and not (shard[:5] in outcome.value and "--repair" in outcome.hint):
            found = "unnamed"
        if found:
            faults[found] += 1
            print(f"  {found}: {shard} {way}: {reader}: {outcome.value}, {outcome.hint}", flush=True)
        notes["refused" if outcome.kind == "refused" else "right"] += not found
        notes["exit 4"] += outcome.code == 4
    return [Line("missing shard", f"{len(ways)} ways, {len(READERS)} readers", len(tries), faults, dict(notes))]


def _try(attacked: Victim, shard: str, way: Callable[[Path], Any], read: Callable[[Victim], bool]) -> bool:
    attacked.restore()
    shutil.rmtree(attacked.home.parent / "out", ignore_errors=True)
    (attacked.home.parent / "out").mkdir()
    way(attacked.folder / "shards" / shard)
    return read(attacked)


def _instead(path: Path, make: Callable[[Path], Any]) -> None:
    path.unlink()
    make(path)


def _sparse(path: Path) -> None:
    size = path.stat().st_size
    path.unlink()
    path.touch()
    os.truncate(path, size)


def _linked(path: Path) -> None:
    path.rename(path.with_name("other.h5"))
    path.symlink_to(path.with_name("other.h5"))


WAYS: dict[str, Callable[[Path], Any]] = {
    "deleted": Path.unlink,
    "renamed": lambda path: path.rename(path.with_name("other.h5")),
    "unreadable": lambda path: path.chmod(0),
    "a folder": lambda path: _instead(path, Path.mkdir),
    "a pipe": lambda path: _instead(path, os.mkfifo),
    "a link": _linked,
    "a link to nothing": lambda path: _instead(path, lambda p: p.symlink_to("nothing")),
    "holes of the same size": _sparse,
    "zeros of the same size": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "empty": lambda path: path.write_bytes(b""),
}


def _table(attacked: Victim) -> Any:
    return attacked.store.open(attacked.folder.name)


def _right(attacked: Victim) -> np.ndarray[Any, Any]:
    return np.frombuffer(attacked.right[0], np.float32).reshape(24, -1)


def _indexed(attacked: Victim) -> bool:
    return np.array_equal(_table(attacked).X[np.arange(23, -1, -2)], _right(attacked)[::-2])


def _chunks(attacked: Victim) -> bool:
    return np.array_equal(np.concatenate(list(_table(attacked).iter_chunks(5))), _right(attacked))


def _shuffled(attacked: Victim) -> bool:
    parts = list(_table(attacked).iter_shuffled(5))
    numbers, X = (np.concatenate(values) for values in zip(*parts, strict=True))
    return np.array_equal(X, _right(attacked)[numbers])


def _fit(attacked: Victim) -> bool:
    return bool(attacked.fit() == attacked.right)


def _exported(suffix: str, virtual: bool, attacked: Victim) -> bool:
    path = attacked.home.parent / "out" / f"x.{suffix}"
    export(path, [(LAYER, "all", _table(attacked))], virtual=virtual)
    if suffix == "h5":
        with h5py.File(path) as file:
            X = file[f"all/{LAYER}"][:]
    elif suffix == "npz":
        X = np.load(path)["X"]
    elif suffix == "npy":
        X = np.load(path)
    else:
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        X = next(
            np.array(c.to_pylist(), np.float32) for c in table.columns if str(c.type).startswith(("fixed", "list"))
        )
    return np.array_equal(X, _right(attacked))


def _merged(attacked: Victim) -> bool:
    target = FeatureStore(attacked.home.parent / "out")
    parts = plan_merge(target, [attacked.home])
    check_parts(parts, lambda n: None)
    copy_parts(target, parts, lambda n: None)
    return np.array_equal(target.open(attacked.folder.name).X, _right(attacked))


def _borrowed(attacked: Victim) -> bool:
    sources = {split: source.subset(np.arange(23, -1, -1)) for split, source in load_splits(attacked.source).items()}
    found = extract(sources, attacked.backbone, [LAYER], attacked.store, CONFIG)
    (table,) = found.tables.values()
    return np.allclose(table.X, _right(attacked)[::-1], rtol=1e-5, atol=1e-6)


READERS: dict[str, Callable[[Victim], bool]] = {
    "X[...]": _indexed,
    "iter_chunks": _chunks,
    "iter_shuffled": _shuffled,
    "fit": _fit,
    **{f"export .{suffix}": partial(_exported, suffix, False) for suffix in ("h5", "npz", "npy", "parquet")},
    "export --virtual": partial(_exported, "h5", True),
    "merge": _merged,
    "borrowed by a sibling": _borrowed,
}
