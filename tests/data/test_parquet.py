"""Hugging Face's parquet files: rows in their order, bytes as in a folder, strangers' metadata refused in one line."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import featx.data.parquet
from featx.cache.memo import Memo
from featx.data.blob import LocalBlob
from featx.data.depth import content_digest
from featx.data.parquet import open_parquet
from featx.data.sources import load_source, load_splits
from featx.errors import ImageError, SourceError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
Rows = list[tuple[bytes | None, Any]]


def noted(names: Any) -> dict[bytes, bytes]:
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def write(
    path: Path, rows: Rows, metadata: dict[bytes, bytes] | None = None, *, label: str = "label", group: int = 2
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = pa.array([{"bytes": data, "path": f"{i}.png"} for i, (data, _) in enumerate(rows)], IMAGE)
    table = pa.table({"image": images, label: [value for _, value in rows]}).replace_schema_metadata(metadata)
    pq.write_table(table, path, row_group_size=group)
    return path


@pytest.fixture
def hub(tmp_path: Path, png: Any) -> Path:
    """A data set as the Hub holds it: two parts to learn from, one to validate and one to test."""
    names = noted(["dog", "cat"])
    root = tmp_path / "pets"
    (root / "data").mkdir(parents=True)
    (root / "README.md").write_text("about pets")
    write(root / "data/train-00000-of-00002.parquet", [(png(i), i % 2) for i in range(5)], names)
    write(root / "data/train-00001-of-00002-0123456789abcdef.parquet", [(png(i), 1) for i in (5, 6)], names)
    (root / "data/train-00001-of-00002-0123456789abcdef.parquet").rename(root / "data/train-00001-of-00002.parquet")
    write(root / "data/validation-00000-of-00001.parquet", [(png(7), 0)], names)
    write(root / "data/test-00000-of-00001.parquet", [(png(8), -1), (png(9), None)], names)
    return root


def test_a_folder_from_the_hub(hub: Path) -> None:
    splits = load_splits(hub)
    assert {s: list(source.ids) for s, source in splits.items()} == {
        "train": [f"train/{i:08d}" for i in range(7)],
        "val": ["val/00000000"],
        "test": ["test/00000000", "test/00000001"],
    }
    assert splits["train"].classes == ("dog", "cat")
    assert splits["train"].labels.tolist() == [0, 1, 0, 1, 0, 1, 1]
    assert splits["test"].labels.tolist() == [-1, -1]


def test_rows_hash_as_the_same_files_in_a_folder(hub: Path, tmp_path: Path, fill: Any) -> None:
    folder = load_source(fill(tmp_path / "files", [f"{i}.png" for i in range(10)]))
    tables = load_source(hub)
    np.testing.assert_array_equal(tables.row_hashes(), folder.row_hashes())
    assert tables.fingerprint() == folder.fingerprint()
    np.testing.assert_array_equal(tables[6][0], folder[6][0])


def test_one_file_is_a_source_and_may_have_a_split(hub: Path) -> None:
    assert list(load_splits(hub / "data/train-00001-of-00002.parquet")) == ["train"]
    other = (hub / "data/train-00001-of-00002.parquet").rename(hub / "photos.parquet")
    assert list(load_source(other).ids) == ["all/00000000", "all/00000001"]


@pytest.mark.parametrize("column", ["plain", "large"])
@pytest.mark.parametrize(
    ("label", "values", "classes", "numbers"),
    [
        ("label", ["b", "a", None], ("a", "b"), [1, 0, -1]),
        ("fine_label", [10, 9, 10], ("9", "10"), [1, 0, 1]),
        ("caption_length", [1, 2, 3], (), [-1, -1, -1]),
    ],
)
def test_other_columns(
    tmp_path: Path, png: Any, column: str, label: str, values: Any, classes: Any, numbers: Any
) -> None:
    kind = pa.binary() if column == "plain" else pa.large_binary()
    table = pa.table({"id": [1, 2, 3], "img": pa.array([png(i) for i in range(3)], kind), label: values})
    pq.write_table(table, tmp_path / "x.parquet")
    source = load_source(tmp_path / "x.parquet")
    assert source.classes == classes
    assert source.labels.tolist() == numbers
    assert source[2][0].shape == (10, 12, 3)


@pytest.mark.usefixtures("settled")
def test_a_second_look_reads_no_image(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_source(hub, memo=Memo(tmp_path / "home")).fingerprint()
    monkeypatch.setattr(featx.data.parquet.Shard, "group", None)
    assert load_source(hub, memo=Memo(tmp_path / "home")).fingerprint() == first


def test_few_row_groups_are_in_memory(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = featx.data.parquet.Shard.group
    monkeypatch.setattr(featx.data.parquet.Shard, "group", lambda self, n: read.append(n) or original(self, n))
    source = load_source(hub, "train")
    source.row_hashes()
    assert len(read) == 4
    monkeypatch.setattr(featx.data.parquet, "CACHE_BYTES", 1)
    again = load_source(hub, "train")
    again.row_hashes()
    assert len(again._files._cache) == 1  # type: ignore[attr-defined]


def test_a_copy_in_another_process_reads_the_same(hub: Path) -> None:
    source = load_source(hub, "train")
    again = pickle.loads(pickle.dumps(source.subset(np.array([6, 0]))))
    np.testing.assert_array_equal(again[0][0], source[6][0])


# What is refused


def refused(path: Path, match: str) -> str:
    with pytest.raises(SourceError, match=match) as caught:
        load_source(path)
    assert "\n" not in caught.value.message
    return caught.value.hint


def test_images_by_path_are_refused_with_a_hint(tmp_path: Path) -> None:
    hint = refused(write(tmp_path / "x.parquet", [(None, 0), (None, 1)]), "by path and does not contain their bytes")
    assert "embed" in hint


def test_one_image_without_bytes_is_a_bad_image(tmp_path: Path, png: Any) -> None:
    source = load_source(write(tmp_path / "x.parquet", [(png(1), 0), (None, 1)]))
    assert len(source.row_hashes()) == 2
    with pytest.raises(ImageError, match=r"all/00000001 in .* has no bytes"):
        source[1]


@pytest.mark.parametrize(
    "metadata",
    [
        {b"huggingface": b"{"},
        {b"huggingface": b"[" * 100_000},
        {b"huggingface": b"[1]"},
        {b"huggingface": b"\xff"},
        {b"huggingface": b'"' + b"x" * (17 << 20) + b'"'},
        noted(["cat", 7]),
        noted(["cat", "cat"]),
        noted(None),
        noted(["cat"]),
    ],
    ids=["cut", "deep", "list", "no text", "huge", "number", "twice", "none", "too few"],
)
def test_bad_metadata_are_refused(tmp_path: Path, png: Any, metadata: dict[bytes, bytes]) -> None:
    refused(write(tmp_path / "x.parquet", [(png(1), 0), (png(2), 1)], metadata), "x.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"text" * 100])
def test_what_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    refused(tmp_path / "x.parquet", "not a readable Parquet file")


def test_every_cut_file_is_refused_or_its_images_are(tmp_path: Path, png: Any) -> None:
    path = write(tmp_path / "x.parquet", [(png(i), 0) for i in range(4)])
    good = path.read_bytes()
    for size in range(0, len(good), 97):
        path.write_bytes(good[:size])
        refused(path, "not a readable Parquet file")
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(good), 100):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
        try:
            source = load_source(path)
            source.row_hashes()
            for i in range(len(source)):
                source[i]
        except SourceError:
            pass


def test_a_missing_part_is_not_passed_over(hub: Path) -> None:
    (hub / "data/train-00000-of-00002.parquet").unlink()
    refused(hub, "holds 1 of 2 parts train-")


def test_something_beside_the_splits_is_refused(hub: Path, png: Any) -> None:
    write(hub / "data/unlabelled.parquet", [(png(1), 0)], noted(["dog", "cat"]))
    refused(hub, "holds unlabelled.parquet beside")


def test_several_data_sets_are_not_mixed(hub: Path, png: Any) -> None:
    write(hub / "other/train.parquet", [(png(1), 0)])
    assert "name one" in refused(hub, "in several folders: data, other")


def test_parts_that_differ_in_class_names_are_refused(hub: Path, png: Any) -> None:
    write(hub / "data/test-00000-of-00001.parquet", [(png(1), 0)], noted(["cat", "dog"]))
    refused(hub, "differ in labels")


def test_a_table_without_images_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1], "y": ["a"]}), tmp_path / "x.parquet")
    refused(tmp_path / "x.parquet", "has the columns x, y, expected one of images")


def test_a_file_that_changes_is_refused(hub: Path, png: Any) -> None:
    source = load_source(hub, "train")
    write(hub / "data/train-00001-of-00002.parquet", [(png(50), 0), (png(51), 0)], noted(["dog", "cat"]))
    with pytest.raises(SourceError, match="changed while"):
        source[6]


def test_without_pyarrow_the_extra_is_named(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert refused(hub, "needs pyarrow") == "pip install 'featx[parquet]'"


def test_rows_are_hashed_shard_by_shard_in_any_order(hub: Path) -> None:
    files, layout = open_parquet(str(hub), [LocalBlob(path) for path in sorted((hub / "data").iterdir())], None)
    names = [row.name for rows in layout.splits.values() for row in rows]
    asked: list[int] = []
    for shard in (shard for shards in files._shards.values() for shard in shards):
        shard.hashes.get = _counted(shard.hashes.get, asked)  # type: ignore[method-assign]
    mixed = [names[at] for at in np.random.default_rng(0).permutation(2 * len(names)) % len(names)]
    found = files.hashes(mixed)
    assert sum(asked) == len(mixed)
    assert len(asked) == 4  # each file once, each row once: nothing grows with rows times files
    assert [digest.tobytes() for digest in found] == [content_digest(files.read(name)) for name in mixed]


def _counted(get: Any, asked: list[int]) -> Any:
    def counted(rows: Any, digest: Any) -> Any:
        asked.append(len(rows))
        return get(rows, digest)

    return counted
