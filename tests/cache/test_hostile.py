"""Stores that somebody made up: refused or read, but nothing outside is touched, and time and memory stay bounded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults_child import in_children
from forgeries import FORGERIES, forge
from outside import Outside
from store_samples import Sample

from featx.cache.export import export
from featx.cache.folder import KeyFolder
from featx.cache.merge import check_parts, copy_parts, plan_merge
from featx.cache.store import FeatureStore
from featx.cache.upkeep import choose, repair, sweep
from featx.cache.verify import verify_key
from featx.core import atomic
from featx.errors import CorruptStoreError, FeatxError, StoreError

MEMORY = 200 << 20
"""Bytes: a receipt that names a million skipped rows is read before it is refused."""


def nothing(n: int) -> None:
    """Hear of bytes."""


def read_in_every_way(home: Path) -> list[str]:
    """List, check, open, export, merge and mend the store; return the classes of what was raised."""
    store = FeatureStore(home)
    raised = []
    for digest in [entry.digest for entry in store.ls()]:
        for work in (_export, _virtual, _merge, _lend):
            try:
                work(store, digest, home.parent)
            except FeatxError as exc:
                raised.append(type(exc).__name__)
        findings = verify_key(KeyFolder(store.folder(digest)), nothing)
        with suppress(StoreError):
            repair(store, findings)
    choose(store.ls(), 0.0, max_bytes=0)
    sweep(store)
    return raised


def _export(store: FeatureStore, digest: str, out: Path) -> None:
    table = store.open(digest)
    export(out / "x.npz", [("l", "s", table)])
    export(out / "x.h5", [("l", "s", table)])


def _virtual(store: FeatureStore, digest: str, out: Path) -> None:
    export(out / "v.h5", [("l", "s", store.open(digest))], virtual=True)


def _merge(store: FeatureStore, digest: str, out: Path) -> None:
    target = FeatureStore(out / "merged")
    parts = plan_merge(target, [store.home])
    check_parts(parts, nothing)
    copy_parts(target, parts, nothing)


def _lend(store: FeatureStore, digest: str, out: Path) -> None:
    sample = _sample()
    hashes = sample.hashes[::-1].copy()
    for reusable_rows in store.reuse_index().reusable(Sample(n=24, columns=6, shard_rows=8).key, hashes):
        reusable_rows.read(0, 24)


def _sample() -> Sample:
    return Sample(n=24, columns=6, shard_rows=8, layer="conv1:avg")


@pytest.mark.parametrize("group", dict.fromkeys(name.partition(":")[0] for name in FORGERIES))
def test_a_forged_store_harms_nobody(tmp_path: Path, group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # quicker, and nothing here is about power
    _sample().stored(tmp_path / "pristine")
    names = [name for name in FORGERIES if name.startswith(group + ":")]
    works = [partial(harm, tmp_path / str(number), name) for number, name in enumerate(names)]
    for name, outcome in zip(names, in_children(works, 60), strict=True):
        assert outcome.kind == "ok", (name, outcome)
        touched, raised = outcome.value
        assert touched == {"reads outside": False, "code run": False}, name
        assert outcome.grown < MEMORY, name
        assert raised <= {"CorruptStoreError", "StoreError"}, name


def harm(scratch: Path, name: str) -> tuple[dict[str, bool], set[str]]:
    """Forge a store and read it; return what was touched outside, and what was raised."""
    shutil.copytree(scratch.parent / "pristine", scratch / "home")
    outside = Outside.at(scratch / "outside")
    forge(FeatureStore(scratch / "home").folder(_sample().key), FORGERIES[name], outside)
    outside.arm()
    raised = read_in_every_way(scratch / "home")
    return outside.touched(), set(raised)


def test_the_watch_sees_what_is_read_and_run(tmp_path: Path) -> None:
    outside = Outside.at(tmp_path)
    outside.arm()
    assert outside.touched() == {"reads outside": False, "code run": False}
    (tmp_path / "raw.bin").read_bytes()
    assert outside.touched()["reads outside"]
    outside.marker.touch()
    assert outside.touched()["code run"]


def test_rows_that_were_never_written_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = _sample()
    store = sample.stored(tmp_path)
    rows = store.folder(sample.key) / "rows.bin"
    size = rows.stat().st_size
    rows.unlink()
    rows.touch()
    os.truncate(rows, size)
    monkeypatch.setattr(atomic, "read_bytes", _but(rows, atomic.read_bytes))
    with pytest.raises(CorruptStoreError, match=r"rows\.bin is damaged: a part of it was never written"):
        store.open(sample.key)
    (fault,) = verify_key(KeyFolder(store.folder(sample.key)), nothing).faults
    assert fault.path == rows


def _but(path: Path, read: Callable[..., bytes]) -> Callable[..., bytes]:
    def guarded(wanted: Path, *args: Any) -> bytes:
        assert wanted != path
        return read(wanted, *args)

    return guarded


def test_receipts_of_no_shard_do_not_make_a_key_whole(tmp_path: Path) -> None:
    sample = _sample()
    store = sample.stored(tmp_path)
    shards = store.folder(sample.key) / "shards"
    (shards / "00001.json").rename(shards / "00009.json")
    assert not store.is_complete(sample.key)
    (entry,) = store.ls()
    assert not entry.complete
    with pytest.raises(StoreError, match="incomplete: 2 of 3 shards"):
        store.open(sample.key)


def test_json_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for depth, fits in ((64, True), (65, False), (100_000, False)):
        path.write_bytes(b"[" * depth + b"]" * depth)
        if fits:
            atomic.read_json(path)
        else:
            with pytest.raises(CorruptStoreError, match="not valid JSON"):
                atomic.read_json(path)
    path.write_text("[" + "[],{}," * 1000 + "1]")
    assert len(atomic.read_json(path)) == 2001


def test_a_name_with_a_nul_can_be_exported(tmp_path: Path) -> None:
    import h5py

    sample = _sample()
    sample.ids[3] = "a\0b"
    export(tmp_path / "x.h5", [("l", "s", sample.table(tmp_path / "home"))])
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["s/ids"].asstr()[3] == "a\\x00b"
        assert np.array_equal(file["s/l"], sample.X)
