"""The same images give the same features, wherever they lie."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from featx.cache.memo import Memo
from featx.data.arrays import ArraySource
from featx.data.sources import Source, load_source
from featx.extraction.compute import compute
from featx.models.backbones import resolve

N = 200
CLASSES = ("cat", "dog")
FILE_KINDS = ("folder", "zip", "tar", "csv", "parquet")
ARRAY_KINDS = ("npz", "npy", "h5", "hdf5")


@dataclass(frozen=True)
class Data:
    """One data set: pixels, the files' names, and the folder that holds it in every kind."""

    images: Any
    labels: Any
    names: list[str]
    root: Path

    def source(self, kind: str, memo: Memo | None = None) -> Source:
        places = {"folder": "pets", "csv": "pets/list.csv"}
        return load_source(self.root / places.get(kind, f"data.{kind}"), memo=memo)


def write_files(data: Data) -> None:
    with zipfile.ZipFile(data.root / "data.zip", "w") as packed, tarfile.open(data.root / "data.tar", "w") as tar:
        for name, image in zip(reversed(data.names), reversed(data.images), strict=True):
            path = data.root / "pets" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
            packed.write(path, name)
            tar.add(path, f"./{name}")
    write_table(data)
    lines = [f"{(data.labels[i] and 'dog') or 'cat'},{name}\n" for i, name in enumerate(data.names)]
    (data.root / "pets/list.csv").write_text("label,path\n" + "".join(lines))


def write_table(data: Data) -> None:
    files = [{"bytes": (data.root / "pets" / name).read_bytes(), "path": name} for name in data.names]
    table = pa.table({"image": files, "label": [CLASSES[label] for label in data.labels]})
    pq.write_table(table, data.root / "data.parquet", row_group_size=64)


def write_arrays(data: Data) -> None:
    labels = np.array(CLASSES)[data.labels]
    np.savez(data.root / "data.npz", X=data.images, y=labels)
    np.save(data.root / "data.npy", data.images)
    with h5py.File(data.root / "data.h5", "w") as file:
        file["X"], file["y"] = data.images, labels.tolist()
    with h5py.File(data.root / "data.hdf5", "w") as file:
        file.create_dataset("images", data=data.images, chunks=(32, 28, 28, 3), compression="gzip")
        file["labels"] = labels.astype("S")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    images = np.random.default_rng(0).integers(0, 256, (N, 28, 28, 3), np.uint8)
    labels = np.arange(N) // (N // 2)
    names = [f"{CLASSES[label]}/{i:03d}.png" for i, label in enumerate(labels)]
    made = Data(images, labels, names, tmp_path_factory.mktemp("kinds"))
    write_files(made)
    write_arrays(made)
    return made


def features(source: Source) -> Any:
    return compute(source, resolve("lenet5", weights="random:0"), ["fc1"])["fc1"]


@pytest.fixture(scope="module")
def expected(data: Data) -> Any:
    """Features of the pixels as they were drawn, never written anywhere."""
    return features(ArraySource(data.images))


@pytest.mark.parametrize("kind", [*FILE_KINDS, *ARRAY_KINDS])
def test_every_kind_gives_the_same_images_labels_and_features(data: Data, kind: str, expected: Any) -> None:
    source = data.source(kind)
    assert len(source) == N
    if kind == "parquet":
        assert list(source.ids) == [f"all/{i:08d}" for i in range(N)]
    elif kind in FILE_KINDS:
        assert list(source.ids) == data.names
    assert source.labels.tolist() == ([-1] * N if kind == "npy" else data.labels.tolist())
    assert source.classes == (() if kind == "npy" else CLASSES)
    np.testing.assert_array_equal(source[150][0], data.images[150])
    np.testing.assert_array_equal(features(source), expected)
    assert np.ptp(expected, axis=0).max() > 0


@pytest.mark.parametrize("kinds", [FILE_KINDS, ARRAY_KINDS])
def test_equal_bytes_have_equal_fingerprints(data: Data, kinds: tuple[str, ...]) -> None:
    assert len({data.source(kind).fingerprint() for kind in kinds}) == 1


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("kind", [*FILE_KINDS, *ARRAY_KINDS])
def test_a_second_look_a_part_and_a_copy_agree(data: Data, kind: str, tmp_path: Path) -> None:
    plain = data.source(kind)
    rows = np.array([3, 199, 3, 0])
    for _ in range(2):
        source = data.source(kind, Memo(tmp_path))
        part = source.subset(rows)
        np.testing.assert_array_equal(part.row_hashes(), plain.row_hashes()[rows])
        np.testing.assert_array_equal(part[1][0], data.images[199])
        again = pickle.loads(pickle.dumps(part))
        assert again.fingerprint() == part.fingerprint()
        np.testing.assert_array_equal(again[2][0], data.images[3])
        assert source.fingerprint() == plain.fingerprint()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("kind", ["tar", "parquet", "npy", "h5", "hdf5"])
def test_a_second_look_reads_no_image(data: Data, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = data.source(kind, Memo(tmp_path)).fingerprint()
    for place in (
        "featx.data.blob.read_at",
        "featx.data.array_files.StackFile.read",
        "tarfile.open",
        "featx.data.parquet.Shard.group",
    ):
        monkeypatch.setattr(place, None)
    assert data.source(kind, Memo(tmp_path)).fingerprint() == first


@pytest.mark.parametrize("kind", [*FILE_KINDS, *ARRAY_KINDS])
def test_threads_read_what_one_reads(data: Data, kind: str) -> None:
    source = data.source(kind)
    with ThreadPoolExecutor(32) as pool:
        for i, image in enumerate(pool.map(lambda i: source[i][0], range(N))):
            np.testing.assert_array_equal(image, data.images[i])


def test_a_png_is_what_the_data_set_says(data: Data) -> None:
    """The comparison above would be worth nothing with lossy files."""
    stored = (data.root / "pets" / data.names[0]).read_bytes()
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stored))), data.images[0])
