"""What a caller hands over becomes a source, or is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import drawn
from PIL import Image

from featx.data.arrays import ArraySource
from featx.data.sources import load_source
from featx.errors import FeatxError, ImageError, OptionError, SourceError
from featx.extraction.inputs import as_source, relabelled

GREY = np.arange(3 * 5 * 4, dtype=np.uint8).reshape(3, 5, 4)


@pytest.mark.parametrize("shape", [(3, 5, 4), (3, 5, 4, 1)])
def test_grey_arrays_have_one_channel(shape: tuple[int, ...]) -> None:
    source = as_source(GREY.reshape(shape))
    assert (len(source), source.channels) == (3, 1)
    np.testing.assert_array_equal(source[1][0][..., 0], GREY[1])
    assert (source.labels == -1).all()


def test_colour_arrays_have_three() -> None:
    assert as_source(np.zeros((2, 4, 4, 3), np.uint8)).channels == 3


def test_source_is_left_as_it_is() -> None:
    source = drawn(4)
    assert as_source(source) is source


def test_one_text_is_what_load_source_understands(pets: Path) -> None:
    assert len(as_source("digits")) == 1797
    assert as_source(pets).fingerprint() == load_source(pets).fingerprint()


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda p: np.array(p, object), lambda p: map(Path, p), iter])
def test_paths_are_read_in_the_order_given(tmp_path: Path, kind: Any) -> None:
    for i, grey in enumerate(GREY):
        Image.fromarray(grey).save(tmp_path / f"{i}.png")
    source = as_source(kind([str(tmp_path / f"{i}.png") for i in (2, 0, 0)]))
    assert [int(source[i][0][0, 0, 0]) for i in range(3)] == [40, 0, 0]
    assert list(source.ids) == [str(tmp_path / f"{i}.png") for i in (2, 0, 0)]


def test_absent_path_is_named(tmp_path: Path) -> None:
    source = as_source([tmp_path / "none.png"])
    with pytest.raises(ImageError, match=r"none\.png"):
        source[0]


@pytest.mark.parametrize(
    "X",
    [
        GREY.astype(float),
        GREY.astype(np.int64),
        GREY > 3,
        GREY[0],
        GREY[0, 0],
        np.array(3, np.uint8),
        np.array("a.png"),
        np.zeros((2, 4, 4, 2), np.uint8),
        np.zeros((2, 4, 4, 4), np.uint8),
        np.zeros((1, 2, 4, 4, 3), np.uint8),
        GREY[:0],
        [],
        np.array([], str),
        [1, 2],
        [None],
        b"abc",
        None,
        7,
        "",
        "no such thing",
    ],
)
def test_anything_else_is_refused_in_one_line(X: Any) -> None:
    with pytest.raises(FeatxError) as caught:
        as_source(X)
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_labels_are_replaced_and_the_source_is_not_changed() -> None:
    source = drawn(4)
    changed, classes = relabelled(source, ["zebra", "ant", "zebra", "bee"])
    assert classes.tolist() == ["ant", "bee", "zebra"]
    assert changed.labels.tolist() == [2, 0, 2, 1]
    assert changed.classes == ("ant", "bee", "zebra")
    assert changed.fingerprint() == source.fingerprint()
    assert source.labels.tolist() == [0, 1, 0, 1]
    assert source.classes == ("a", "b")


def test_numbers_stay_numbers() -> None:
    changed, classes = relabelled(drawn(3), [30, 10, 30])
    assert classes.dtype.kind == "i"
    assert changed.labels.tolist() == [1, 0, 1]
    assert changed.classes == ("10", "30")


def test_without_y_the_sources_own_labels_count() -> None:
    source, classes = relabelled(drawn(4), None)
    assert classes.tolist() == ["a", "b"]
    assert source.labels.tolist() == [0, 1, 0, 1]


def test_wrong_labels_are_refused() -> None:
    with pytest.raises(SourceError, match="no labels"):
        relabelled(ArraySource(GREY), None)
    for y in ([0, 1], [[0], [1], [0]], 1):
        with pytest.raises(OptionError, match=r"expected \(3,\)"):
            relabelled(drawn(3), y)
