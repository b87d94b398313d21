"""How often a model is right when it is so sure: reliability diagrams, and the expected calibration error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featx.core.calibration_error import BINS, Bins, equal_mass_bins, expected_calibration_error
from featx.reports.columns import COLUMNS, OF_PROBABILITIES, ON_REQUEST, UNCALIBRATED
from featx.reports.html.content import SHOWN, Content, ReadRun
from featx.reports.html.figures import colour, figure, key_of
from featx.reports.html.markup import Safe, name
from featx.reports.html.predicted import Predicted, predicted_by
from featx.reports.html.svg import Plot, linear
from featx.reports.html.tables import table

ROWS = 2
"""So many rows of each set of test images are drawn, the most accurate first."""


@dataclass(frozen=True)
class Bin:
    """Images that a model is about as sure of: how many, how sure on average, and which share of them is right."""

    n: int
    confidence: float
    accuracy: float


def bins_of(sure: Sequence[Predicted], n_bins: int = BINS) -> list[Bin]:
    """Return the bins of `featx.core.calibration_error`; images without a probability do not count."""
    known = [(one.probability, one.is_right) for one in sure if one.probability is not None]
    confidence, right = (np.array([pair[i] for pair in known], np.float64) for i in (0, 1))
    found = equal_mass_bins(confidence, right, n_bins)
    return [
        Bin(int(n), float(sure), float(share))
        for n, sure, share in zip(found.n, found.confidence, found.accuracy, strict=True)
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error of bins."""
    n, confidence, accuracy = (
        np.array([getattr(one, name) for one in bins]) for name in ("n", "confidence", "accuracy")
    )
    return expected_calibration_error(Bins(n, confidence, accuracy))


def calibration(content: Content) -> Safe:
    """Return reliability diagrams of the most accurate rows whose runs kept probabilities, and the scores of all."""
    return Safe(_diagrams(content) + _scores(content))


def _diagrams(content: Content) -> Safe:
    found = [
        (place, run, bins)
        for group in content.groups[:SHOWN]
        for place in group[:ROWS]
        if (bins := bins_of(predicted_by(run := content.runs_of(place)[0])))
    ]
    if not found:
        return Safe("")
    plots = [_plot(content, place, bins, f"sure-{i}") for i, (place, _, bins) in enumerate(found)]
    lines = [line for place, run, bins in found for line in _lines(content, place, run, bins)]
    key = key_of([(place, f"{content.label(place)}: {calibration_error(bins):.4f}") for place, _, bins in found])
    caption = f"How often a model is right against how sure it is of the class that it predicts, in {BINS} bins of "
    caption += "equal mass, rows of equal probability in one of them; bars are 95 % intervals (Wilson). On the line it "
    caption += "is right as often as it says, below it is "
    caption += "too sure. "
    caption += "Beside the names stands the expected calibration error. Of several seeds, the first run's."
    heads = ["how", "run", "test images", "mean probability", "right"]
    shown = table("Bins", heads, lines, [True, True, False, False, False], limit=content.room(15_000))
    return figure(plots, caption, shown, key=key)


def _scores(content: Content) -> Safe:
    """Return how good the probabilities of all rows are, and were before a calibration."""
    names = ("test loss", *(f"test {shown}" for shown in OF_PROBABILITIES.values()))
    names += tuple(f"test {shown}" for shown in UNCALIBRATED.values())
    every = {**COLUMNS, **ON_REQUEST}
    columns = {head: every[head] for head in names if any(every[head].text(row) for row in content.rows)}
    if not {*columns} - {"test loss"}:  # runs of an earlier featx
        return Safe("")
    lines = [
        [str(i + 1), name(content.hows[i]), *(column.text(row) for column in columns.values())]
        for i, row in enumerate(content.rows)
    ]
    heads = ["#", "how", *(head.removeprefix("test ") for head in columns)]
    words = [False, True, *([False] * len(columns))]
    return table("Probabilities of the test images", heads, lines, words, limit=content.room(15_000))


def _lines(content: Content, place: int, run: ReadRun, bins: Sequence[Bin]) -> list[list[str]]:
    how = name(content.label(place), 80)
    return [[how, run.id, f"{one.n:,}", f"{one.confidence:.4f}", f"{one.accuracy:.4f}"] for one in bins]


def _plot(content: Content, place: int, bins: Sequence[Bin], key: str) -> Safe:
    from featx.core.statistics import wilson_interval  # scipy

    low = max(0.0, min(0.9, *(min(one.confidence, one.accuracy) for one in bins)) - 0.05)
    low = low if low > 0.3 else 0.0
    plot = Plot(linear([], "mean probability", low=low, high=1.0), linear([], "right", low=low, high=1.0))
    (x, y), (to_x, to_y) = plot.at((low, low)), plot.at((1, 1))
    plot.add(f'<path class="even" d="M{x:.0f} {y:.0f}L{to_x:.0f} {to_y:.0f}"/>')
    for one in bins:
        ends = wilson_interval(one.accuracy, one.n)
        (x, first), (_, last) = (plot.at((one.confidence, max(low, end))) for end in ends)
        plot.add(f'<path class="e {colour(place)}" d="M{x:.1f} {first:.1f}V{last:.1f}"/>')
        plot.dot((one.confidence, max(low, one.accuracy)), colour(place), size=4)
    error = calibration_error(bins)
    desc = f"{len(bins)} bins of {sum(one.n for one in bins)} test images; expected calibration error {error:.4f}."
    return plot.svg(key, f"Reliability: {content.label(place)}", desc)
