"""A Parquet manifest: told by its columns, labels and splits as in a list, hashes that are held to."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featx.data.sources import load_source, load_splits
from featx.errors import FeatxWarning, ImageError, SourceError


def write(path: Path, /, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def hashes(pets: Path, names: list[str]) -> list[str]:
    return [hashlib.sha256((pets / name).read_bytes()).hexdigest() for name in names]


NAMES = ["cat/0.png", "cat/1.png", "dog/0.png"]


def test_labels_splits_and_absolute_paths(pets: Path) -> None:
    paths = ["cat/0.png", str(pets / "cat/1.png"), "dog/0.png"]
    path = write(pets / "m.parquet", filename=paths, category=[10, 9, -1], subset=["Train", "test", "train"])
    splits = load_splits(path)
    assert {split: list(source.ids) for split, source in splits.items()} == {
        "train": ["cat/0.png", "dog/0.png"],
        "test": ["cat/1.png"],
    }
    assert splits["train"].classes == ("9", "10")
    assert splits["train"].labels.tolist() == [1, -1]


def test_a_file_of_images_stays_one_whatever_paths_it_has_beside_them(pets: Path) -> None:
    data = [(pets / name).read_bytes() for name in NAMES]
    source = load_source(write(pets / "m.parquet", image=data, path=NAMES, label=[0, 1, 0]))
    assert list(source.ids) == ["all/00000000", "all/00000001", "all/00000002"]


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_stated_hash_is_the_key_and_no_image_is_read_for_it(
    pets: Path, as_bytes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated: Any = hashes(pets, NAMES)
    if as_bytes:
        stated = [bytes.fromhex(text) for text in stated]
    plain = load_source(write(pets / "plain.parquet", path=NAMES, label=[0, 1, 0])).fingerprint()
    source = load_source(write(pets / "m.parquet", path=NAMES, label=[0, 1, 0], sha256=stated))
    with monkeypatch.context() as patch:
        patch.setattr("featx.data.files._read_file", None)
        assert source.fingerprint() == plain
    assert source[2][1] == 0


def test_an_image_of_another_hash_is_refused_by_name(pets: Path) -> None:
    stated = [*hashes(pets, NAMES[:2]), "0" * 64]
    source = load_source(write(pets / "m.parquet", path=NAMES, label=[0, 1, 0], sha256=stated))
    assert source[1][1] == 1
    with pytest.raises(ImageError, match=r"image dog/0\.png has the SHA-256 .*, expected 0000"):
        source[2]


def test_an_image_whose_bytes_say_more_than_their_hash_is_told(pets: Path) -> None:
    import io

    import numpy as np
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(buffer, "PNG")
    png = buffer.getvalue()
    sbit = b"sBIT\x0c"
    import zlib

    chunk = (1).to_bytes(4, "big") + sbit + zlib.crc32(sbit).to_bytes(4, "big")
    data = png[:33] + chunk + png[33:]
    (pets / "deep.png").write_bytes(data)
    stated = [hashlib.sha256(data).hexdigest()]
    source = load_source(write(pets / "m.parquet", path=["deep.png"], label=[0], sha256=stated))
    with pytest.raises(ImageError, match="leave sha256 empty"):
        source[0]
    plain = load_source(write(pets / "m.parquet", path=["deep.png"], label=[0], sha256=[""]))
    assert plain[0][0].shape[:2] == (8, 8)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"path": ["cat/0.png"], "split": ["sometimes"]}, "its split is 'sometimes'"),
        ({"path": ["cat/0.png", None]}, "row 2: it has no path"),
        ({"path": ["cat/0.png"], "sha256": ["abc"]}, "its sha256 is 'abc'"),
        ({"path": ["cat/0.png"] * 2, "sha256": ["a" * 64, "b" * 64]}, "two SHA-256"),
        ({"url": ["x.png"], "uri": ["y.png"]}, "expected one path"),
        ({"path": pa.array([], pa.string())}, "names no images"),
    ],
)
def test_what_is_wrong_is_said(pets: Path, columns: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        load_source(write(pets / "m.parquet", **columns))


def test_columns_that_might_be_labels_are_told(pets: Path) -> None:
    with pytest.warns(FeatxWarning, match="has no column label; not read: kind"):
        load_source(write(pets / "m.parquet", path=NAMES, kind=["a", "b", "a"]))
