"""An exported file is plain HDF5 that says everything itself."""

from __future__ import annotations

import json
import os
import resource
import signal
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from store_samples import Sample, in_child

from featx.cache.export import write_h5
from featx.cache.store import FeatureTable
from featx.errors import CorruptStoreError, DiskFullError, OptionError, StoreError
from featx.specs import digest_of


def tables(home: Path) -> list[tuple[str, str, FeatureTable]]:
    """Two layers of a split with a skipped row and labels, one of a split without labels."""
    first = Sample(layer="fc1:avg", skipped={3: "torn"})
    second = Sample(columns=5, dtype="float16", layer="conv.2", skipped={3: "torn"})
    test = Sample(n=6)
    return [
        ("fc1:avg", "train", first.table(home, first)),
        ("conv.2", "train", second.table(home, second)),
        ("fc1:avg", "test", test.table(home)),
    ]


def test_it_reads_back_without_featx(tmp_path: Path) -> None:
    given = tables(tmp_path / "home")
    size = write_h5(tmp_path / "out.h5", given)
    assert size == (tmp_path / "out.h5").stat().st_size
    with h5py.File(tmp_path / "out.h5") as file:
        assert set(file) == {"train", "test", "classes"}
        assert set(file["train"]) == {"fc1:avg", "conv.2", "ids", "labels"}
        for layer, split, table in given:
            dataset = file[split][layer]
            assert dataset.dtype == table.dtype
            assert np.array_equal(dataset[:], table.X)
            assert digest_of(json.loads(dataset.attrs["key"])) == digest_of(table.key)
        assert file["train/ids"].asstr()[:].tolist() == given[0][2].ids
        assert file["train/labels"][:].tolist() == [0, 1, 2, 1, 2, 0, 1, 2, 0]
        assert file["test/labels"][:].tolist() == [-1] * 6
        assert file["test/labels"].dtype == np.int64
        assert file["classes"].asstr()[:].tolist() == ["a", "b", "c"]
        assert file.attrs["schema"] == 1
        assert file.attrs["featx"]
    assert sorted(os.listdir(tmp_path)) == ["home", "out.h5"]


def test_equal_tables_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        write_h5(tmp_path / name, tables(tmp_path / name[0]))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_no_split_is_called_all_and_odd_names_stay_readable(tmp_path: Path) -> None:
    sample = Sample()
    sample.ids[0] = "é"
    sample.ids[1] = os.fsdecode(b"caf\xe9.png")
    write_h5(tmp_path / "out.h5", [("fc1", "", sample.table(tmp_path))])
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["all/ids"].asstr()[:2].tolist() == ["é", "caf\\udce9.png"]
        assert file["classes"].shape == (0,)


def test_memory_stays_flat(tmp_path: Path) -> None:
    sample = Sample(40_000, 512, 8_000)  # 80 MB
    table = sample.table(tmp_path)
    tracemalloc.start()
    write_h5(tmp_path / "out.h5", [("fc1", "train", table)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6
    with h5py.File(tmp_path / "out.h5") as file:
        assert np.array_equal(file["train/fc1"][-5:], sample.X[-5:])


@pytest.mark.parametrize("limit", [0, 1000, 5000, 100_000, 1_000_000, 1_040_000])
def test_no_room_leaves_the_old_file(tmp_path: Path, limit: int) -> None:
    sample = Sample(1000, 256, 500)
    table = sample.table(tmp_path / "home")
    (tmp_path / "out.h5").write_text("old")
    assert write_h5(tmp_path / "whole.h5", [("fc1", "train", table)]) > limit

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            write_h5(tmp_path / "out.h5", [("fc1", "train", table)])
        except DiskFullError as exc:
            raise SystemExit(5 if "1,024,000 bytes needed" in exc.message else 1) from None

    assert in_child(work) == 5  # and HDF5 lets the process end
    assert (tmp_path / "out.h5").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["home", "out.h5", "whole.h5"]


def test_damaged_features_are_not_exported(tmp_path: Path) -> None:
    sample = Sample()
    table = sample.table(tmp_path / "home")
    shard = next((table.path / "shards").glob("00002-*.h5"))
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(CorruptStoreError, match=shard.name):
        write_h5(tmp_path / "out.h5", [("fc1", "train", table)])
    assert os.listdir(tmp_path) == ["home"]


def test_a_device_or_folder_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(OptionError, match="regular file"):
            write_h5(path, [])
    with pytest.raises(StoreError, match="cannot be written"):
        write_h5(tmp_path / "none" / "out.h5", [])


def test_names_that_are_taken_and_tables_that_do_not_match_are_refused(tmp_path: Path) -> None:
    (_, _, table), (_, _, narrow), (_, _, other) = tables(tmp_path)
    for bad in (
        [("ids", "train", table)],
        [("labels", "train", table)],
        [("a/b", "train", table)],
        [("fc1", "classes", table)],
        [("fc1", "a/b", table)],
        [("fc1", "train", table), ("fc1", "train", narrow)],
        [("fc1", "train", table), ("fc2", "train", other)],
    ):
        with pytest.raises(OptionError):
            write_h5(tmp_path / "out.h5", bad)
    narrow.classes = ("x", "y")
    with pytest.raises(OptionError, match="classes"):
        write_h5(tmp_path / "out.h5", [("fc1", "train", table), ("fc2", "test", narrow)])
    assert not (tmp_path / "out.h5").exists()
