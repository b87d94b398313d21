"""An exported file is plain HDF5, NumPy or Parquet, and says everything itself."""

from __future__ import annotations

import json
import os
import resource
import signal
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from store_samples import Sample, in_child

from featx.cache import matrix
from featx.cache.export import FORMATS, export, format_of
from featx.cache.store import FeatureTable
from featx.core.hashing import digest_of
from featx.errors import CorruptStoreError, DiskFullError, OptionError, StoreError


def need(kind: str) -> None:
    """Skip where the format's extra is not installed."""
    if kind == "parquet":
        pytest.importorskip("pyarrow")


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
    size = export(tmp_path / "out.h5", given)
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
        assert file["train/labels"].dtype == np.int64
        assert "labels" not in file["test"]
        assert file["classes"].asstr()[:].tolist() == ["a", "b", "c"]
        assert file.attrs["schema"] == 1
        assert file.attrs["featx"]
    assert sorted(os.listdir(tmp_path)) == ["home", "out.h5"]


def test_equal_tables_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        export(tmp_path / name, tables(tmp_path / name[0]))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_no_split_is_called_all_and_odd_names_stay_readable(tmp_path: Path) -> None:
    sample = Sample()
    sample.ids[0] = "é"
    sample.ids[1] = os.fsdecode(b"caf\xe9.png")
    export(tmp_path / "out.h5", [("fc1", "", sample.table(tmp_path))])
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["all/ids"].asstr()[:2].tolist() == ["é", "caf\\udce9.png"]
        assert file["classes"].shape == (0,)


@pytest.mark.parametrize("kind", FORMATS)
def test_memory_stays_flat(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    need(kind)
    table = Sample(10_000, 512, 2_000).table(tmp_path)  # 20 MB
    monkeypatch.setattr(matrix, "_CHUNK_BYTES", 1 << 20)
    export(tmp_path / f"out.{kind}", [("fc1", "train", table)])  # shards are hashed, modules loaded
    tracemalloc.start()
    export(tmp_path / f"out.{kind}", [("fc1", "train", table)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6
    assert (tmp_path / f"out.{kind}").stat().st_size > table.X.nbytes


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("limit", [0, 1000, 5000, 100_000, 1_000_000, 1_020_000])
def test_no_room_leaves_the_old_file(tmp_path: Path, limit: int, kind: str) -> None:
    need(kind)
    sample = Sample(1000, 256, 500)
    table = sample.table(tmp_path / "home")
    out, whole = tmp_path / f"out.{kind}", tmp_path / f"whole.{kind}"
    out.write_text("old")
    assert export(whole, [("fc1", "train", table)]) > limit

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            export(out, [("fc1", "train", table)])
        except DiskFullError as exc:
            raise SystemExit(5 if "1,024,000 bytes needed" in exc.message else 1) from None

    assert in_child(work) == 5  # and HDF5 lets the process end
    assert out.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == sorted(["home", out.name, whole.name])


def test_damaged_features_are_not_exported(tmp_path: Path) -> None:
    sample = Sample()
    table = sample.table(tmp_path / "home")
    shard = next((table.path / "shards").glob("00002-*.h5"))
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(CorruptStoreError, match=shard.name):
        export(tmp_path / "out.h5", [("fc1", "train", table)])
    assert os.listdir(tmp_path) == ["home"]


def test_a_device_link_or_folder_is_not_replaced(tmp_path: Path) -> None:
    table = Sample().table(tmp_path / "home")
    os.mkfifo(tmp_path / "pipe.h5")
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "link.h5").symlink_to("elsewhere.h5")
    for name in ("folder.h5", "pipe.h5", "link.h5"):
        with pytest.raises(OptionError, match="regular file"):
            export(tmp_path / name, [("fc1", "", table)])
    assert not (tmp_path / "elsewhere.h5").exists()
    with pytest.raises(StoreError, match="cannot be written"):
        export(tmp_path / "none" / "out.h5", [("fc1", "", table)])


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
            export(tmp_path / "out.h5", bad)
    narrow.classes = ("x", "y")
    with pytest.raises(OptionError, match="classes"):
        export(tmp_path / "out.h5", [("fc1", "train", table), ("fc2", "test", narrow)])
    assert not (tmp_path / "out.h5").exists()


def labelled(home: Path, **how: Any) -> tuple[Sample, FeatureTable]:
    """A table with a skipped row, an unknown label and a name that is no UTF-8."""
    sample = Sample(skipped={3: "torn"}, **how)
    sample.ids[1] = os.fsdecode(b"caf\xe9.png")
    sample.labels[0] = -1
    return sample, sample.table(home, sample)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_npz_holds_everything_without_pickle(tmp_path: Path, dtype: str) -> None:
    sample, table = labelled(tmp_path / "home", dtype=dtype)
    assert export(tmp_path / "out.npz", [("fc1", "", table)]) == (tmp_path / "out.npz").stat().st_size
    with np.load(tmp_path / "out.npz", allow_pickle=False) as file:
        assert set(file) == {"X", "ids", "labels", "classes", "key"}
        assert file["X"].dtype == table.dtype
        assert np.array_equal(file["X"], sample.X[sample.present])
        assert file["ids"][:3].tolist() == ["cat/0.png", "caf\\udce9.png", "cat/2.png"]
        assert file["labels"].tolist() == [-1, 1, 2, 1, 2, 0, 1, 2, 0]
        assert file["classes"].tolist() == ["a", "b", "c"]
        assert digest_of(json.loads(str(file["key"]))) == sample.key.digest
    export(tmp_path / "again.npz", [("fc1", "", table)])
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "out.npz").read_bytes()


def test_labels_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    table = Sample().table(tmp_path / "home")
    export(tmp_path / "out.npz", [("fc1", "", table)])
    with np.load(tmp_path / "out.npz") as file:
        assert set(file) == {"X", "ids", "key"}


def test_npy_is_an_array_that_can_be_mapped(tmp_path: Path) -> None:
    sample, table = labelled(tmp_path / "home")
    export(tmp_path / "out.npy", [("fc1", "", table)])
    X = np.load(tmp_path / "out.npy", mmap_mode="r", allow_pickle=False)
    assert isinstance(X, np.memmap)
    assert np.array_equal(X, sample.X[sample.present])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_parquet_is_a_table_with_the_key_beside_it(tmp_path: Path, dtype: str) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    sample, table = labelled(tmp_path / "home", dtype=dtype)
    export(tmp_path / "out.parquet", [("fc1", "", table)])
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column_names == ["id", "label", "class", "features"]
    assert digest_of(json.loads(found.schema.metadata[b"featx"])) == sample.key.digest
    rows = found.to_pylist()
    assert [row["id"] for row in rows][:2] == ["cat/0.png", "caf\\udce9.png"]
    assert [row["label"] for row in rows] == [None, 1, 2, 1, 2, 0, 1, 2, 0]
    assert [row["class"] for row in rows][:3] == [None, "b", "c"]
    assert np.array_equal(np.array([row["features"] for row in rows], dtype), sample.X[sample.present])


@pytest.mark.parametrize("kind", FORMATS)
def test_a_table_without_rows_is_a_file_without_rows(tmp_path: Path, kind: str) -> None:
    need(kind)
    table = Sample(n=0).table(tmp_path / "home")
    assert export(tmp_path / f"out.{kind}", [("fc1", "", table)]) > 0
    if kind == "h5":
        export(tmp_path / "out.h5", [("fc1", "", table)], virtual=True)


def test_the_suffix_says_the_format(tmp_path: Path) -> None:
    assert [format_of(f"x{suffix}") for suffix in (".h5", ".HDF5", ".npz", ".npy", ".parquet")] == [
        *("h5", "h5", "npz", "npy", "parquet")
    ]
    assert format_of("x.dat", "npy") == "npy"
    for path, kind in (("x.npz", "npy"), ("x.dat", None), ("x", None), ("x.h5", "h6")):
        with pytest.raises(OptionError):
            format_of(path, kind)


def test_one_table_a_file_but_for_hdf5(tmp_path: Path) -> None:
    named = tables(tmp_path)
    for kind in ("npz", "npy", "parquet"):
        for given in (named, []):
            with pytest.raises(OptionError, match="only one"):
                export(tmp_path / f"out.{kind}", given)
    with pytest.raises(OptionError, match="virtual"):
        export(tmp_path / "out.npz", named[:1], virtual=True)


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path: Path) -> None:
    table = Sample().table(tmp_path / "home")

    def work() -> None:
        table.X.iter_chunks = lambda rows=None: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore
        export(tmp_path / "out.npz", [("fc1", "", table)])

    assert in_child(work) == -signal.SIGKILL
    assert len([name for name in os.listdir(tmp_path) if name.startswith(".tmp-")]) == 1
    assert not (tmp_path / "out.npz").exists()
    export(tmp_path / "out.npz", [("fc1", "", table)])
    assert sorted(os.listdir(tmp_path)) == ["home", "out.npz"]
