"""Stores that earlier versions wrote are read for ever: those in golden/, made by golden/make.py, which says how."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "golden"))

from make import SAMPLES, Golden, make

from featx.cache import receipts
from featx.cache.folder import KeyFolder
from featx.cache.key import SCHEMA
from featx.cache.schema import digest_of, seal
from featx.cache.store import FeatureStore
from featx.cache.verify import verify_key
from featx.errors import CorruptStoreError, StoreError

GOLDEN = Path(__file__).parent / "golden" / "schema-1"
KEYS = pytest.mark.parametrize("golden", SAMPLES.values(), ids=SAMPLES)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    shutil.copytree(GOLDEN, tmp_path / "golden")
    return FeatureStore(tmp_path / "golden")


def files(home: Path, pattern: str) -> Iterator[Path]:
    found = sorted(home.glob(f"features/*/{pattern}"))
    assert found
    yield from found


@KEYS
def test_a_golden_store_gives_what_was_put_in(store: FeatureStore, golden: Golden) -> None:
    table = store.open(golden.key)
    present = [row for row, image in enumerate(golden.images) if image not in golden.skipped]
    assert np.array_equal(table.X, golden.X[present])
    assert table.dtype == np.dtype(golden.dtype)
    assert table.rows.tolist() == present
    assert table.ids == [golden.ids[row] for row in present]
    assert [(row, why) for row, _, why in table.skipped] == [
        (row, golden.skipped[image]) for row, image in enumerate(golden.images) if image in golden.skipped
    ]
    assert table.key == golden.key.as_dict()
    assert table.X.plan == golden.plan


@KEYS
def test_a_golden_store_is_sound_and_lends_its_rows(store: FeatureStore, golden: Golden) -> None:
    found = verify_key(KeyFolder(store.folder(golden.key)), lambda n: None)
    assert (found.faults, found.notes) == ([], [])
    (entry,) = [entry for entry in store.ls() if entry.digest == golden.key.digest]
    assert (entry.complete, entry.rows, entry.columns) == (True, len(golden.images), golden.columns)
    wanted = next(row for row, image in enumerate(golden.images) if image not in golden.skipped)
    sibling = Golden((golden.images[wanted],), golden.dtype, golden.columns, golden.shard_rows, {})
    (reusable_rows, *_) = store.reuse_index().reusable(sibling.key, sibling.hashes)
    assert np.array_equal(reusable_rows.read(0, 1)[1], sibling.X)


@KEYS
def test_a_golden_store_is_read_through_what_is_remembered_of_it(
    store: FeatureStore, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "FEW_SHARDS", 0)
    before = sorted(path.name for path in store.folder(golden.key).iterdir())
    X = np.asarray(store.open(golden.key).X)
    assert len(list((store.home / "memo").iterdir())) == 1
    again = store.open(golden.key)
    assert np.array_equal(again.X, X)
    assert [row for row, _, _ in again.skipped] == [row for row in range(len(golden.images)) if row not in again.rows]
    assert sorted(path.name for path in store.folder(golden.key).iterdir()) == before


def test_the_schema_stands_in_every_file(store: FeatureStore) -> None:
    for pattern in ("key.json", "plan.json", "about.json", "shards/*.json"):
        for path in files(store.home, pattern):
            assert json.loads(path.read_bytes())["schema"] == 1, path
    for path in files(store.home, "shards/*.h5"):
        with h5py.File(path) as file:
            assert file["X"].attrs["schema"] == 1


def test_the_writer_of_today_writes_what_a_golden_store_holds(store: FeatureStore, tmp_path: Path) -> None:
    assert SCHEMA == 1, "a new schema: make its golden stores, and let these be read only"
    make(tmp_path / "today")
    for pattern in ("key.json", "plan.json", "ids.json", "rows.bin", "computed.bin", "about.json"):
        for path in files(store.home, pattern):
            assert (tmp_path / "today" / path.relative_to(store.home)).read_bytes() == path.read_bytes()
    for path in files(store.home, "shards/*.json"):
        ours, theirs = (json.loads(p.read_bytes()) for p in (tmp_path / "today" / path.relative_to(store.home), path))
        for receipt in (ours["receipt"], theirs["receipt"]):
            assert receipt.pop("versions")
            receipt.pop("seconds")
        assert ours["receipt"] == theirs["receipt"]
    # The pinned format keeps the bytes the same under HDF5 1.14 and 2.0; a later HDF5 may change them, not their rows.
    for path in files(store.home, "shards/*.h5"):
        assert (tmp_path / "today" / path.relative_to(store.home)).read_bytes() == path.read_bytes()


def test_a_shard_is_read_without_featx(store: FeatureStore) -> None:
    golden = SAMPLES["float16"]
    parts = []
    for path in sorted((store.folder(golden.key) / "shards").glob("*.h5")):
        with h5py.File(path) as file:
            assert file["X"].attrs["key"].decode() == golden.key.digest
            assert file["X"].attrs["start"] == sum(map(len, parts))
            parts.append(file["X"][:])
    assert np.array_equal(np.concatenate(parts), golden.X)


def newer(store: FeatureStore) -> str:
    """Turn a golden key into one that a later version wrote, as far as this one can know."""
    folder = store.folder(SAMPLES["float16"].key)
    key = json.loads((folder / "key.json").read_bytes()) | {"schema": SCHEMA + 1, "colour": "blue"}
    later = folder.with_name(digest_of(key))
    folder.rename(later)
    (later / "key.json").write_text(json.dumps(key))
    return later.name


def test_a_store_of_a_newer_schema_is_refused_and_kept(store: FeatureStore) -> None:
    digest = newer(store)
    before = {path: path.read_bytes() for path in files(store.home, "*.json")}
    with pytest.raises(StoreError, match=r"written by a newer featx \(schema 2, this one reads 1\)") as caught:
        store.open(digest)
    assert not isinstance(caught.value, CorruptStoreError)
    assert "pip install" in caught.value.hint
    assert digest in [entry.digest for entry in store.ls()]
    assert not verify_key(KeyFolder(store.folder(digest)), lambda n: None).faults
    assert store.reuse_index().reusable(SAMPLES["float16"].key, SAMPLES["float16"].hashes) == []
    assert {path: path.read_bytes() for path in files(store.home, "*.json")} == before


@pytest.mark.parametrize("name", ["plan.json", "shards/00000.json"])
def test_a_newer_file_in_a_key_is_never_taken_for_damage(store: FeatureStore, name: str) -> None:
    golden = SAMPLES["float16"]
    path = store.folder(golden.key) / name
    body: dict[str, Any] = json.loads(path.read_bytes()) | {"schema": 2}
    del body["check"]
    path.write_text(json.dumps(seal(body)))
    with pytest.raises(StoreError, match="written by a newer featx"):
        store.open(golden.key)
    if name == "plan.json":  # a writer takes a damaged plan for a folder to be begun anew
        with pytest.raises(StoreError, match="written by a newer featx"):
            store.writer(golden.key, golden.plan, golden.ids, golden.hashes, {})
    assert path.exists()


def test_a_program_of_its_own_reads_a_golden_store(store: FeatureStore) -> None:
    golden = SAMPLES["float16"]
    command = [sys.executable, "-m", "featx.cli.main", "cache", "verify", golden.key.digest, "--home", str(store.home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 shards" in done.stdout
