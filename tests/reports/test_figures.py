"""Pictures of runs, and the interval that they draw."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binom

from featx.reports.figures import (
    METADATA,
    accuracy_bars,
    layer_map,
    overlaid_curves,
    sweep_curve,
    training_curves,
    wilson_interval,
)


def row(name: str = "probe", kind: str = "fit", accuracy: float = 0.5, n: int = 100, seconds: float = 1.0) -> Any:
    interval = wilson_interval(accuracy, n)
    return {"name": name, "kind": kind, "accuracy": accuracy, "interval": interval, "seconds": seconds}


def picture(*rows: Any, title: str = "a title") -> Image.Image:
    image = Image.open(io.BytesIO(accuracy_bars(rows, title)))
    image.load()
    return image


def test_picture_is_a_png_of_its_size() -> None:
    image = picture(row(), row("trained", "train", 0.8))
    assert image.format == "PNG"
    assert image.size == (9 * 120, round((0.5 * 2 + 1.6) * 120))
    assert len(np.unique(np.asarray(image.convert("L")))) > 10  # something is drawn


def blue(image: Image.Image) -> int:
    """How many of a picture's left half's pixels are a fit's bars."""
    pixels = np.asarray(image.convert("RGB")).astype(int)
    left = pixels[:, : pixels.shape[1] // 2]
    return int((np.abs(left - [0x44, 0x77, 0xAA]).sum(axis=2) < 30).sum())


def test_more_rows_make_it_higher_and_bars_show_the_accuracy() -> None:
    assert picture(*[row()] * 6).size[1] > picture(row()).size[1]
    assert blue(picture(row(accuracy=0.9))) > 1.7 * blue(picture(row(accuracy=0.45)))


def test_equal_runs_give_equal_bytes() -> None:
    assert accuracy_bars([row()], "a") == accuracy_bars([row()], "a")
    assert accuracy_bars([row()], "a") != accuracy_bars([row(accuracy=0.6)], "a")


@pytest.mark.parametrize("n", [1, 6, 11, 21, 448])
def test_perfect_and_hopeless_runs_can_be_drawn(n: int) -> None:
    half = blue(picture(row(accuracy=0.5, n=2 * n)))
    assert blue(picture(row(accuracy=1.0, n=n))) > 1.8 * half
    assert blue(picture(row(accuracy=0.0, n=n))) < 0.1 * half


def test_a_ten_thousandth_of_a_second_and_a_day_have_room_beside_each_other() -> None:
    image = picture(row(seconds=1e-4), row(seconds=1e5)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    width, height = image.size
    short, long = (image.crop((0, top, width, top + height // 2)) for top in (0, height // 2))
    assert 100 < blue(short) < blue(long) / 3


def test_names_are_text_and_no_markup() -> None:
    for text in ("$a b$", "$\\fra c{$ _^ <b> ü"):  # a formula knows no blanks, and the second could not be drawn
        closed = text.replace(" ", "")
        assert accuracy_bars([row(text)], "t") != accuracy_bars([row(closed)], "t")
        assert accuracy_bars([row()], text) != accuracy_bars([row()], closed)


def test_interval_holds_its_share_and_stays_within_0_and_1() -> None:
    for n in range(1, 2000):
        for share in {0.0, 1.0, (n // 2) / n, 1 / n, 1 - 1 / n}:
            low, high = wilson_interval(share, n)
            assert 0 <= low <= share <= high <= 1


def test_interval_is_wilsons() -> None:
    # Newcombe (1998), table I: 81 of 263 and 15 of 148; 0 of 20.
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_interval_covers_the_truth_about_95_times_in_100() -> None:
    for n, truth in ((50, 0.3), (400, 0.9)):
        intervals = [wilson_interval(k / n, n) for k in range(n + 1)]
        covered = sum(binom.pmf(k, n, truth) for k, (low, high) in enumerate(intervals) if low <= truth <= high)
        assert covered == pytest.approx(0.95, abs=0.02)


HISTORY = [
    {"epoch": e, "train_loss": 2 / e, "train_accuracy": e / 9, "val_loss": 3 / e, "val_accuracy": e / 10}
    for e in (1, 2, 3)
]


def test_curves_are_pictures_and_the_same_each_time() -> None:
    found = training_curves(HISTORY, 2, "cost: $5 $ {x}", METADATA)
    assert found["png"].startswith(b"\x89PNG")
    assert b"<svg" in found["svg"]
    assert found["pdf"].startswith(b"%PDF")
    assert found == training_curves(HISTORY, 2, "cost: $5 $ {x}", METADATA)


def test_curves_need_no_validation() -> None:
    lines = [{name: value for name, value in line.items() if not name.startswith("val")} for line in HISTORY]
    assert training_curves(lines, 3, "x", ["svg"]) != training_curves(HISTORY, 3, "x", ["svg"])


def test_curves_over_each_other_have_a_colour_and_a_name_each() -> None:
    names = [f"run {i} $\\frac{{$ <b>" for i in range(9)]  # more than there are colours
    shown = overlaid_curves([(name, HISTORY[: 1 + i % 3]) for i, name in enumerate(names)], "png")
    image = np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")).astype(int)
    for colour in ([0x44, 0x77, 0xAA], [0xAA, 0x33, 0x77]):
        assert (np.abs(image - colour).sum(axis=2) < 30).any()
    few = overlaid_curves([("one", HISTORY)], "svg")
    assert few.startswith(b"<?xml")
    assert few == overlaid_curves([("one", HISTORY)], "svg")
    assert few != overlaid_curves([("one", HISTORY[:2])], "svg")


def line(layer: str, val: float, megabytes: float) -> Any:
    accuracy = {"train": 1.0, "val": val, "test": val}
    return {"layer": layer, "accuracy": accuracy, "bytes": megabytes * 1e6, "seconds": {"fit": megabytes / 10}}


def test_layer_map_grows_with_its_layers_and_tells_one_test_accuracy() -> None:
    lines = [line("$layer1$", 0.5, 100.0), line("layer2", 0.7, 10.0)]
    one, two = (Image.open(io.BytesIO(layer_map(lines[:n], lines[n - 1]["layer"], "50 % of $x"))) for n in (1, 2))
    assert one.format == "PNG"
    assert two.size[1] > one.size[1]
    lines[0]["accuracy"]["test"] = 0.1  # nobody sees it
    assert layer_map(lines, "layer2", "t") == layer_map([line("$layer1$", 0.5, 100.0), lines[1]], "layer2", "t")
    lines[1]["accuracy"]["test"] = 0.1
    assert layer_map(lines, "layer2", "t") != layer_map([lines[0], line("layer2", 0.7, 10.0)], "layer2", "t")


def test_sweep_curve_marks_what_was_chosen() -> None:
    search = {"values": [0.1, 1.0, 10.0], "accuracy": [0.3, 0.8, 0.8], "chosen": 1.0}
    assert sweep_curve(search, "t") == sweep_curve(search, "t")
    assert sweep_curve(search, "t") != sweep_curve({**search, "chosen": 10.0}, "t")
    assert Image.open(io.BytesIO(sweep_curve(search, "$t"))).format == "PNG"
