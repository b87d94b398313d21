"""Arrays as sources: which are understood, and which refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.data.arrays import ArraySource
from featx.data.sources import load_source, load_splits
from featx.errors import SourceError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5, 4), np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 4, 3), np.uint8)
Y = np.array([2, 0, 1, 2, 0, 1])


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return path


# ArraySource


def test_images_labels_and_ids_come_back() -> None:
    source = ArraySource(COLOUR, Y, classes=("a", "b", "c"), ids=list("uvwxyz"))
    assert (len(source), source.channels, list(source.ids)) == (6, 3, list("uvwxyz"))
    image, label = source[3]
    np.testing.assert_array_equal(image, COLOUR[3])
    assert label == 2
    assert isinstance(label, int)


def test_grey_images_get_one_channel_with_or_without_an_axis_for_it() -> None:
    for images in (GREY, GREY[..., None]):
        source = ArraySource(images)
        assert source.channels == 1
        assert source[0][0].shape == (5, 4, 1)
    assert ArraySource(GREY).fingerprint() == ArraySource(GREY[..., None]).fingerprint()


def test_without_labels_there_are_none() -> None:
    source = ArraySource(GREY)
    assert source.labels.tolist() == [-1] * 6
    assert source[0][1] is None


@pytest.mark.parametrize(
    "images",
    [
        GREY.astype(np.float32) / 255,
        GREY.astype(np.int64),
        GREY > 9,
        GREY[0],
        np.zeros((2, 5, 4, 4), np.uint8),
        np.zeros((2, 3, 5, 4), np.uint8),
        np.zeros((2, 5, 4, 3, 1), np.uint8),
        np.zeros((2, 5, 4), object),
    ],
    ids=lambda images: f"{images.dtype}{images.shape}",
)
def test_other_types_and_shapes_are_refused_by_name(images: Any) -> None:
    with pytest.raises(SourceError, match="expected uint8") as caught:
        ArraySource(images)
    assert str(images.dtype) in str(caught.value)


def test_counts_that_differ_are_refused() -> None:
    with pytest.raises(SourceError, match="6 images, 5 labels and 6 ids"):
        ArraySource(GREY, Y[:5])
    with pytest.raises(SourceError, match="6 images, 6 labels and 1 ids"):
        ArraySource(GREY, Y, ids=["x"])


def test_row_hashes_see_every_pixel_and_the_shape() -> None:
    source = ArraySource(GREY)
    changed = GREY.copy()
    changed[2, 4, 3] ^= 1
    differs = (source.row_hashes() != ArraySource(changed).row_hashes()).any(axis=1)
    assert differs.tolist() == [False, False, True, False, False, False]
    turned = ArraySource(GREY.reshape(6, 4, 5))
    assert (source.row_hashes() != turned.row_hashes()).any(axis=1).all()


def test_row_hashes_do_not_depend_on_memory_layout() -> None:
    assert ArraySource(np.asfortranarray(COLOUR)).fingerprint() == ArraySource(COLOUR).fingerprint()


def test_labels_ids_and_spec_are_no_part_of_the_fingerprint() -> None:
    other = ArraySource(GREY, Y, classes=("a", "b", "c"), ids=list("uvwxyz"), spec="elsewhere", split="test")
    assert other.fingerprint() == ArraySource(GREY).fingerprint()


def test_the_order_is_part_of_the_fingerprint() -> None:
    assert ArraySource(GREY[::-1]).fingerprint() != ArraySource(GREY).fingerprint()


def test_a_subset_has_the_rows_asked_for_in_the_order_asked() -> None:
    source = ArraySource(COLOUR, Y, classes=("a", "b", "c"))
    part = source.subset(np.array([4, 1]))
    assert list(part.ids) == [source.ids[4], source.ids[1]]
    assert part.labels.tolist() == [0, 0]
    assert part.classes == source.classes
    np.testing.assert_array_equal(part.row_hashes(), source.row_hashes()[[4, 1]])


# digits


def test_digits_are_the_1797_with_full_range() -> None:
    source = load_source("digits")
    assert (len(source), source.channels, source.split) == (1797, 1, "all")
    assert source.classes == tuple("0123456789")
    image, label = source[0]
    assert (image.shape, image.dtype, label) == ((8, 8, 1), np.uint8, 0)
    assert max(source[i][0].max() for i in range(20)) == 255


# npz


@pytest.mark.parametrize(("x", "y"), [("X", "y"), ("x", "y"), ("images", "labels"), ("data", "targets")])
def test_one_pair_of_arrays_is_all(tmp_path: Path, x: str, y: str) -> None:
    splits = load_splits(save(tmp_path, **{x: GREY, y: Y}))
    assert list(splits) == ["all"]
    assert splits["all"].labels.tolist() == Y.tolist()
    assert splits["all"].classes == ("0", "1", "2")


@pytest.mark.parametrize("pattern", ["X_{} y_{}", "x_{} y_{}", "{}_images {}_labels", "{}_data {}_targets"])
def test_pairs_of_arrays_are_splits(tmp_path: Path, pattern: str) -> None:
    arrays = {}
    for split, rows in (("test", slice(4, 6)), ("train", slice(0, 4))):
        x, y = pattern.replace("{}", split).split()
        arrays |= {x: COLOUR[rows], y: Y[rows]}
    splits = load_splits(save(tmp_path, **arrays))
    assert {s: source.labels.tolist() for s, source in splits.items()} == {"train": [2, 0, 1, 2], "test": [0, 1]}
    assert set(splits["train"].ids).isdisjoint(splits["test"].ids)


def test_labels_may_be_strings_and_a_column(tmp_path: Path) -> None:
    names = np.array(["dog", "cat", "dog", "cow", "cat", "dog"])
    source = load_source(save(tmp_path, X=GREY, y=names[:, None]))
    assert source.classes == ("cat", "cow", "dog")
    assert [source.classes[label] for label in source.labels] == names.tolist()


def test_labels_need_not_count_from_zero(tmp_path: Path) -> None:
    source = load_source(save(tmp_path, X=GREY, y=np.array([7, -1, 7, 30, 7, -1])))
    assert source.classes == ("-1", "7", "30")
    assert source.labels.tolist() == [1, 0, 1, 2, 1, 0]


def test_classes_are_numbered_over_all_splits(tmp_path: Path) -> None:
    y_train, y_test = np.array([5, 9, 9], np.int64), np.array([9, 1, 5], np.uint64)
    path = save(tmp_path, X_train=GREY[:3], y_train=y_train, X_test=GREY[3:], y_test=y_test)
    splits = load_splits(path)
    assert splits["train"].classes == splits["test"].classes == ("1", "5", "9")
    assert (splits["train"].labels.tolist(), splits["test"].labels.tolist()) == ([1, 2, 2], [2, 0, 1])


def test_named_classes_and_ids_are_taken(tmp_path: Path) -> None:
    source = load_source(save(tmp_path, X=GREY, y=Y, classes=["a", "b", "c", "d"], ids=list("uvwxyz")))
    assert source.classes == ("a", "b", "c", "d")
    assert list(source.ids) == list("uvwxyz")


def test_with_named_classes_minus_one_is_no_label(tmp_path: Path) -> None:
    source = load_source(save(tmp_path, X=GREY, y=np.array([0, -1, 1, 0, 0, 1]), classes=["a", "b"]))
    assert source[1][1] is None


def test_a_split_may_lack_labels(tmp_path: Path) -> None:
    splits = load_splits(save(tmp_path, X_train=GREY[:4], y_train=Y[:4], X_test=GREY[4:]))
    assert splits["test"].labels.tolist() == [-1, -1]


def test_compressed_archives_are_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "c.npz", X=GREY, y=Y)
    assert load_source(tmp_path / "c.npz").fingerprint() == ArraySource(GREY).fingerprint()


REFUSED = {
    "floats": ({"X": GREY / 255, "y": Y}, "float64"),
    "float labels": ({"X": GREY, "y": Y.astype(float)}, "labels are float64"),
    "bool labels": ({"X": GREY, "y": Y > 1}, "labels are bool"),
    "one-hot labels": ({"X": GREY, "y": np.eye(3, dtype=int)[Y]}, "labels are int64 of shape"),
    "too few labels": ({"X": GREY, "y": Y[:5]}, "for 6 images"),
    "label out of range": ({"X": GREY, "y": Y, "classes": ["a", "b"]}, "outside the 2 classes"),
    "label below range": ({"X": GREY, "y": Y - 2, "classes": ["a", "b", "c"]}, "outside the 3 classes"),
    "names beside classes": ({"X": GREY, "y": np.array(list("abcabc")), "classes": ["a", "b", "c"]}, "outside the 3"),
    "mixed labels": (
        {"X_train": GREY, "y_train": Y, "X_test": GREY, "y_test": np.array(list("abcabc"))},
        "integers in one split",
    ),
    "no images": ({"features": GREY, "y": Y}, "holds the arrays features, y"),
    "nothing": ({}, "holds the arrays none"),
    "a number": ({"X": np.uint8(3), "y": Y[:1]}, "shape"),
    "no rows": ({"X": GREY[:0], "y": Y[:0]}, "no images"),
    "too few ids": ({"X": GREY, "y": Y, "ids": ["a"]}, "1 ids"),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_arrays_that_mean_nothing_are_refused(tmp_path: Path, what: str) -> None:
    arrays, message = REFUSED[what]
    with pytest.raises(SourceError, match=message) as caught:
        load_source(save(tmp_path, **arrays))
    assert "data.npz" in str(caught.value)


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize("name", ["X", "y", "classes", "other"])
def test_pickled_objects_are_refused_and_never_run(tmp_path: Path, name: str) -> None:
    arrays = {"X": GREY, "y": Y, name: np.array([Trap()], object)}
    with pytest.raises(SourceError, match=r"not a readable \.npz of plain arrays"):
        load_source(save(tmp_path, **arrays))


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x80\x04N.", b"PK\x03\x04broken"], ids=["empty", "text", "pickle", "zip"]
)
def test_damaged_archives_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"bad\.npz"):
        load_source(path)


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "x.npz").open("wb") as file:
        np.save(file, GREY)
    with pytest.raises(SourceError, match=r"not a readable \.npz"):
        load_source(tmp_path / "x.npz")


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, X=GREY, y=Y)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(SourceError, match="not a readable"):
        load_source(path)
