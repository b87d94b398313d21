"""A sheet of images: a picture whatever the images and names are, and bad images named."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.core.specs import PreprocessSpec
from featx.data.arrays import ArraySource
from featx.data.contact_sheet import COLUMNS, draw_sheet
from featx.data.sources import load_source


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as picture:
        picture.load()
        return picture.size


def colours_of(png: bytes) -> Counter[tuple[int, ...]]:
    """How often each colour is in a picture."""
    return Counter(map(tuple, np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3).tolist()))


@pytest.mark.parametrize("count", [1, COLUMNS, COLUMNS + 1, 3 * COLUMNS])
def test_sheet_grows_by_rows(count: int) -> None:
    source = ArraySource(np.zeros((count, 6, 5, 3), np.uint8))
    one = size_of(draw_sheet(source, None, images=1, seed=0, title="one")[0])
    many = size_of(draw_sheet(source, None, images=400, seed=0, title="many")[0])
    assert many[0] == one[0]
    assert (many[1] > one[1]) == (count > COLUMNS)


def test_sheet_shows_the_pixels_that_the_network_sees() -> None:
    images = np.zeros((1, 40, 80, 3), np.uint8)
    images[:, :, 20:60] = (255, 0, 0)  # what a centre crop leaves
    images[:, :, :20] = images[:, :, 60:] = (0, 0, 255)
    png, _ = draw_sheet(ArraySource(images), PreprocessSpec(32, 32), images=1, seed=0, title="x")
    colours = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    assert (colours == (255, 0, 0)).all(1).sum() > 5000
    assert not (colours == (0, 0, 255)).all(1).any()
    png, _ = draw_sheet(ArraySource(images), None, images=1, seed=0, title="x")
    colours = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    assert (colours == (0, 0, 255)).all(1).any()


def test_equal_requests_give_equal_bytes_and_another_seed_other_images() -> None:
    source = load_source("digits")
    sheets = [draw_sheet(source, None, images=8, seed=seed, title="x")[0] for seed in (0, 0, 1)]
    assert sheets[0] == sheets[1] != sheets[2]


def test_strange_names_are_drawn_as_they_are() -> None:
    def sheet(name: str = "cat", title: str = "cats") -> bytes:
        source = ArraySource(np.zeros((1, 5, 5), np.uint8), np.zeros(1, np.int64), classes=(name,))
        return draw_sheet(source, None, images=1, seed=0, title=title)[0]

    # A formula knows no blanks, and this one could not be drawn.
    for formula in ("$a b$", "$\\fra c{"):
        assert sheet(name=formula) != sheet(name=formula.replace(" ", ""))
        assert sheet(title=formula) != sheet(title=formula.replace(" ", ""))
    assert sheet("tab\tand\nline") == sheet("tab?and?line")
    assert sheet("x" * 300) == sheet("x" * 17 + "…")


def test_image_that_cannot_be_decoded_is_named_and_does_not_stop_the_others(tmp_path: Path, png) -> None:  # type: ignore[no-untyped-def]
    for i in range(3):
        path = tmp_path / "cats" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(i) if i != 1 else b"no picture")
    sheet, skipped = draw_sheet(load_source(tmp_path), None, images=3, seed=0, title="cats")
    shown = colours_of(sheet)
    assert shown[0xAA, 0x33, 0x33] > 100  # the cross
    for i in (0, 2):
        assert set(colours_of(png(i))) <= set(shown)
    path.with_name("1.png").write_bytes(png(1))
    assert colours_of(draw_sheet(load_source(tmp_path), None, images=3, seed=0, title="cats")[0])[0xAA, 0x33, 0x33] < 10
    assert [line["id"] for line in skipped] == ["cats/1.png"]
    assert "no known image format" in skipped[0]["reason"]
