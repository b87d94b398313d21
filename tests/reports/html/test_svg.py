"""Axes and lines of the report's plots."""

from __future__ import annotations

import math

import pytest
from pages import read_page

from featx.reports.html.svg import Plot, linear, logarithmic, number


@pytest.mark.parametrize(
    "values",
    [[0.0, 1.0], [5.0], [0.0], [-3.0, 7.5], [1e-9, 2e-9], [1e15, 2e15], [], [math.nan, 0.5], [0.871, 0.8711]],
)
def test_even_steps_hold_all_values_and_are_few(values: list[float]) -> None:
    axis = linear(values, "x")
    known = [value for value in values if math.isfinite(value)]
    assert all(-1e-6 <= axis.share(value) <= 1 + 1e-6 for value in [*known, *axis.ticks])
    assert 2 <= len(axis.ticks) <= 12


@pytest.mark.parametrize(
    "values", [[1.0], [1e-6, 1e6], [0.05, 1.1], [-1.0, 0.0], [], [1e-300, 1e300], [650.0, 61_706.0]]
)
def test_powers_of_ten_hold_all_positive_values(values: list[float]) -> None:
    axis = logarithmic(values, "x")
    assert all(0 < axis.share(value) < 1 for value in values if value > 0)
    assert all(0 <= axis.share(tick) <= 1 for tick in axis.ticks)
    assert 1 <= len(axis.ticks) <= 12


def test_a_given_end_is_kept() -> None:
    axis = linear([0.2, 0.7], "x", low=0.0, high=12.0)
    assert (axis.low, axis.high) == (0.0, 12.0)
    assert axis.ticks[0] == 0.0
    assert axis.ticks[-1] <= 12.0


def test_better_is_up_and_later_is_right() -> None:
    plot = Plot(linear([0, 10], "x"), linear([0, 1], "y"))
    (x, y), (later, better) = plot.at((0, 0)), plot.at((10, 1))
    assert later > x
    assert better < y


def test_a_line_is_drawn_from_point_to_point() -> None:
    plot = Plot(linear([0, 10], "x"), linear([0, 1], "y"))
    assert plot.path([]) == ""
    text = plot.path([(0, 0), (5, 1), (10, 0)], "t")
    assert text.startswith('<path class="t" d="M104 492l354-468l354 468"')


def test_a_drawing_is_told_in_words_that_cannot_be_markup() -> None:
    plot = Plot(linear([0, 1], "<x>"), linear([0, 1], 'y"'))
    plot.text(0, 0, "<b>")
    found = read_page(f"<p>{plot.svg('k', '<title>', 'a & b')}</p>")
    assert found.texts["title"] == ["<title>"]
    assert found.texts["desc"] == ["a & b"]
    assert "<x>" in found.texts["text"]


def test_numbers_are_short() -> None:
    assert [number(v) for v in (0.30000000000000004, 12, 1500, 25_000, 3e6, 2e9)] == [
        "0.3",
        "12",
        "1,500",
        "25k",
        "3M",
        "2G",
    ]
