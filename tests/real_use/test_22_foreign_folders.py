"""Data sets as other programs keep them are told by what they are, with what to do about it."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archives_by_hand import tar_bytes
from click.testing import CliRunner

from featx.cli.main import cli
from featx.data.sources import load_source, load_splits
from featx.errors import FeatxWarning, OptionError, SourceError

Draw = Callable[..., bytes]


def folder(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"x")
    return path


FOLDERS = {
    "lmdb": (["data.mdb", "lock.mdb"], "an LMDB database", "write its images out"),
    "lmdb below": (["church_train_lmdb/data.mdb", "church_val_lmdb/data.mdb"], "an LMDB", "write its images out"),
    "save_to_disk": (
        ["data-00000-of-00001.arrow", "dataset_info.json", "state.json"],
        "save_to_disk wrote",
        r"load_from_disk\('.*photos'\)\.to_parquet\('all\.parquet'\)",
    ),
    "save_to_disk of splits": (
        ["dataset_dict.json", "train/data-00000-of-00001.arrow", "test/data-00000-of-00001.arrow", "train/state.json"],
        "save_to_disk wrote",
        r"d\.to_parquet\(s \+ '\.parquet'\) for s, d in load_from_disk\('.*photos'\)\.items\(\)",
    ),
    "tfrecord": (["train.tfrecord-00000-of-00002", "train.tfrecord-00001-of-00002"], "TFRecord", "write its images"),
    "cifar for python": (["data_batch_1", "data_batch_2", "test_batch", "batches.meta"], "CIFAR", "cifar10"),
    "mnist": (["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"], "MNIST", "mnist, fashion_mnist"),
    "archives": (["pets.zip", "notes.txt"], "a folder of archives", r"name one of them: .*/pets\.zip"),
}


@pytest.mark.parametrize(("names", "what", "hint"), FOLDERS.values(), ids=list(FOLDERS))
def test_a_folder_is_told_by_what_it_is(tmp_path: Path, names: list[str], what: str, hint: str) -> None:
    path = folder(tmp_path / "photos", *names)
    with pytest.raises(SourceError, match=what) as caught:
        load_source(path)
    assert re.search(hint, caught.value.hint)


def test_a_webdataset_is_read_as_it_is_and_so_are_its_tars_joined(tmp_path: Path, png: Draw) -> None:
    path = tmp_path / "shards of mine"
    path.mkdir()
    for shard in range(2):
        samples = [
            (f"{shard}{i}.{kind}", png(i) if kind == "png" else b"0") for i in range(3) for kind in ("cls", "png")
        ]
        (path / f"{shard}.tar").write_bytes(tar_bytes(samples))
    joined = tmp_path / "all.tar"
    joined.write_bytes(b"".join(part.read_bytes() for part in sorted(path.glob("*.tar"))))
    both = [load_source(place) for place in (path, joined)]
    assert [len(source) for source in both] == [6, 6]
    assert [source.classes for source in both] == [("0",), ("0",)]
    assert both[0].fingerprint() == both[1].fingerprint()


def test_loose_files_of_a_webdataset_are_told_where_their_labels_are_read(tmp_path: Path, png: Draw) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(png(i))
        (tmp_path / f"{i}.cls").write_bytes(b"0")
    done = CliRunner().invoke(cli, ["fit", str(tmp_path), "--pixels"])
    assert done.exit_code == 1
    assert "labels in .cls files are read in WebDataset's tars" in done.stderr


@pytest.mark.parametrize("name", ["x.arrow", "data.mdb", "x.tfrecord", "x.7z"])
def test_a_file_of_another_program_has_a_hint_of_its_own(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError) as caught:
        load_source(folder(tmp_path, name) / name)
    assert caught.value.hint != "name the folder that holds the images"


# Parquet


def table(path: Path, png: Draw, label: str, values: list[Any], kind: Any = None) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    columns = {"image": pa.array([png(i) for i in range(len(values))]), label: pa.array(values, kind)}
    pq.write_table(pa.table(columns), path)
    return path


def fitted(path: Path) -> Any:
    return CliRunner().invoke(cli, ["fit", str(path), "--pixels"])


def test_labels_that_are_bool_are_two_classes_and_a_note_says_so(tmp_path: Path, png: Draw) -> None:
    path = table(tmp_path / "x.parquet", png, "label", [bool(i % 2) for i in range(40)])
    with pytest.warns(FeatxWarning, match="column label are bool, its classes are False and True"):
        source = load_splits(path)["all"]
    assert source.classes == ("False", "True")
    assert source.labels.tolist() == [0, 1] * 20
    done = fitted(path)
    assert done.exit_code == 0, done.output
    assert "2 classes: False, True" in done.stdout
    assert "are bool" in done.stderr


@pytest.mark.parametrize(
    ("label", "values", "said"),
    [
        ("labels", [[0, 3], [1]] * 10, r"its column labels holds list<.*int64>, expected one whole number"),
        ("label", [0.5, 1.0] * 10, "its column label holds double, expected one whole number"),
        ("species", ["cat", "dog"] * 10, r"add a column 'label' of whole numbers or strings \(it has species\)"),
        ("label", [None] * 20, "column label"),
    ],
)
def test_labels_that_cannot_be_used_are_told_by_their_column(
    tmp_path: Path, png: Draw, label: str, values: list[Any], said: str
) -> None:
    path = table(tmp_path / "x.parquet", png, label, values)
    assert len(load_source(path)) == 20  # to extract, labels are not needed
    done = fitted(path)
    assert done.exit_code == 1
    assert re.search(said, done.stderr)
    assert "class folders" not in done.stderr


def test_a_column_of_strings_without_a_value_is_said(tmp_path: Path, png: Draw) -> None:
    pa = pytest.importorskip("pyarrow")
    done = fitted(table(tmp_path / "x.parquet", png, "label", [None] * 20, pa.string()))
    assert "its column label has no value in any row" in done.stderr


def test_arrays_without_labels_are_told_how_to_give_some(tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "x.npz", X=np.zeros((10, 8, 8), np.uint8))
    done = fitted(tmp_path / "x.npz")
    assert "np.savez(path, X=images, y=labels)" in done.stderr


def test_a_tar_of_class_folders_needs_no_hint(tmp_path: Path, png: Draw) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("cat/1.png", "cat/1.cls", "dog/1.png"):
            info = tarfile.TarInfo(name)
            info.size = len(png(0))
            archive.addfile(info, io.BytesIO(png(0)))
    (tmp_path / "x.tar").write_bytes(out.getvalue())
    assert load_source(tmp_path / "x.tar").classes == ("cat", "dog")
