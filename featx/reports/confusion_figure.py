"""The picture of a confusion matrix."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from featx.reports.confusion import Confusion
from featx.reports.figures import COLOURS, saved, wilson_interval
from featx.reports.rows import line_text

COUNTED = 20
"""With more classes, the matrix has colours only: numbers could not be read."""

NAME = 24
"""Longest name of a class beside the matrix, in characters."""

LARGEST = 27.0
"""Height of the largest matrix, in inches; with more classes than have room, not all are named."""

ROOM = 0.13
"""Inches that a name needs."""


def confusion_figure(found: Confusion, title: str, kind: str) -> bytes:
    """Draw shares of each true class as colours, counts in them, and recall by class beside it; return the picture.

    Parameters
    ----------
    found : Confusion
        What to draw.
    title : str
        Above it.
    kind : str
        ``png``, ``svg`` or ``pdf``.
    """
    k = len(found.classes)
    side = min(max(0.42 * k if k <= COUNTED else ROOM * k, 2.6), LARGEST)
    figure = Figure(figsize=(side + 5.2, side + 1.9), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(side, 2.4))
    _matrix(left, found)
    _recall(right, found)
    figure.suptitle(textwrap.fill(title, 80, replace_whitespace=False), parse_math=False, fontsize="medium")
    return saved(figure, kind)


def _matrix(axes: Axes, found: Confusion) -> None:
    counts = np.array(found.counts, float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    places = _named(len(found.classes))
    names = [textwrap.shorten(line_text(found.classes[i]), NAME, placeholder="…") or "…" for i in places]
    size = 9 if len(found.classes) <= COUNTED else 6
    axes.set_xticks(places, names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(places, names, fontsize=size, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if len(found.classes) <= COUNTED:
        for (i, j), n in np.ndenumerate(counts):
            if n:
                colour = "white" if shares[i, j] > 0.6 else "#333333"
                axes.text(j, i, f"{n:.0f}", ha="center", va="center", color=colour, fontsize=8 if n < 1000 else 6)


def _named(k: int) -> Sequence[int]:
    """Return the classes that have room for a name."""
    return range(0, k, -(-k * 100 // int(100 * LARGEST / ROOM)))


def _recall(axes: Axes, found: Confusion) -> None:
    known = [(i, recall, n) for i, (recall, n) in enumerate(zip(found.recall, found.rows, strict=True)) if n]
    places, values = [i for i, _, _ in known], [float(recall or 0) for _, recall, _ in known]
    axes.barh(places, values, color=COLOURS["fit"], height=0.7)
    if len(found.classes) <= COUNTED:  # more could not be told apart from their bars
        bounds = [wilson_interval(value, n) for value, (_, _, n) in zip(values, known, strict=True)]
        low, high = ([abs(bound[side] - v) for v, bound in zip(values, bounds, strict=True)] for side in (0, 1))
        axes.errorbar(values, places, xerr=[low, high], fmt="none", ecolor="#333333", capsize=2, elinewidth=0.8)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("recall (bars: 95 % interval)" if len(found.classes) <= COUNTED else "recall")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelleft=False)
