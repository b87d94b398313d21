"""A virtual file shows the store's own rows, follows it when both move, and shows NaN for what is gone."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from store_samples import Sample

from featx.cache.export import export
from featx.cache.folder import KeyFolder, receipt_name, sealed_file
from featx.cache.store import FeatureStore
from featx.core.atomic import write_json
from featx.errors import CorruptStoreError


def rows_of(path: Path, name: str = "all/fc1") -> Any:
    with h5py.File(path) as file:
        return file[name][:]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_it_shows_the_present_rows_from_anywhere(tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = Sample(40, 300, 10, dtype, skipped={0: "torn", 14: "torn", 39: "torn"})
    table = sample.table(tmp_path / "100%b" / "home", sample)
    (tmp_path / "out").mkdir()
    size = export(tmp_path / "out" / "x.h5", [("fc1", "", table)], virtual=True)
    assert size < sample.X.nbytes / 2
    monkeypatch.chdir("/")
    assert np.array_equal(rows_of(tmp_path / "out" / "x.h5"), sample.X[sample.present])
    with h5py.File(tmp_path / "out" / "x.h5") as file:
        dataset = file["all/fc1"]
        assert dataset.dtype == table.dtype
        assert "NaN" in dataset.attrs["note"]
        for shard in json.loads(dataset.attrs["shards"]):
            assert not os.path.isabs(shard["path"])
            assert hashlib.sha256((tmp_path / "out" / shard["path"]).read_bytes()).hexdigest() == shard["sha256"]
        assert file["all/labels"][:].tolist() == sample.labels[sample.present].tolist()


def test_the_paths_are_relative(tmp_path: Path) -> None:
    sample = Sample()
    (tmp_path / "before").mkdir()
    export(tmp_path / "before" / "x.h5", [("fc1", "", sample.table(tmp_path / "before" / "home"))], virtual=True)
    os.rename(tmp_path / "before", tmp_path / "after")
    assert np.array_equal(rows_of(tmp_path / "after" / "x.h5"), sample.X)


def test_a_missing_shard_is_nan_and_never_zero(tmp_path: Path) -> None:
    sample = Sample()
    table = sample.table(tmp_path / "home")
    export(tmp_path / "x.h5", [("fc1", "", table)], virtual=True)
    next((table.path / "shards").glob("00001-*.h5")).unlink()
    found = rows_of(tmp_path / "x.h5")
    assert np.isnan(found[4:8]).all()
    assert np.array_equal(found[:4], sample.X[:4])
    assert np.array_equal(found[8:], sample.X[8:])


def test_a_damaged_shard_is_not_linked(tmp_path: Path) -> None:
    table = Sample().table(tmp_path / "home")
    shard = next((table.path / "shards").glob("00002-*.h5"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorruptStoreError, match=shard.name):
        export(tmp_path / "x.h5", [("fc1", "", table)], virtual=True)
    assert os.listdir(tmp_path) == ["home"]


def test_a_shard_that_points_elsewhere_is_not_linked(tmp_path: Path) -> None:
    sample = Sample(n=4)
    store = sample.stored(tmp_path / "home")
    (tmp_path / "secret").write_bytes(b"s" * 48)
    forged = tmp_path / "forged.h5"
    with h5py.File(forged, "w") as file:
        file.create_dataset("X", (4, 3), "<f4", external=[(str(tmp_path / "secret"), 0, 48)])
        file["padding"] = np.zeros(100)
    data = forged.read_bytes()
    folder = store.folder(sample.key)
    receipt = KeyFolder(folder).receipt(0, sample.plan, sample.n)
    receipt = replace(receipt, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), offset=0)
    (folder / "shards" / receipt.file).write_bytes(data)
    write_json(folder / "shards" / receipt_name(0), sealed_file(folder.name, receipt=receipt.as_dict()))
    table = FeatureStore(tmp_path / "home").open(sample.key)
    with pytest.raises(CorruptStoreError, match=receipt.file):
        export(tmp_path / "x.h5", [("fc1", "", table)], virtual=True)
    assert not (tmp_path / "x.h5").exists()
