"""Pictures of runs."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = {"fit": "#4477aa", "train": "#cc6677"}
"""Of cached features and of end-to-end training; told apart also by those who see colours otherwise."""


def accuracy_bars(rows: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Draw test accuracy and seconds, a bar a run, and return the PNG.

    Parameters
    ----------
    rows : sequence of dict
        Each with ``name``, ``kind`` (``fit`` or ``train``), ``accuracy`` (0 to 1, of the test rows), ``interval``
        (a pair) and ``seconds``.
    """
    figure = Figure(figsize=(9, 0.5 * len(rows) + 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    places = range(len(rows))
    colours = [COLOURS[row["kind"]] for row in rows]
    accuracy = [row["accuracy"] for row in rows]
    error = [[a - row["interval"][0] for a, row in zip(accuracy, rows, strict=True)]]
    error.append([row["interval"][1] - a for a, row in zip(accuracy, rows, strict=True)])
    left.barh(places, accuracy, color=colours, xerr=error, error_kw={"ecolor": "#333333", "capsize": 3})
    # Names are text: a dollar sign in one must not begin a formula.
    left.set_yticks(list(places), [row["name"] for row in rows], parse_math=False)
    left.invert_yaxis()
    left.set_xlim(0, 1)
    left.set_xlabel("test accuracy (bars: 95 % interval)")
    for place, value in zip(places, accuracy, strict=True):
        left.text(0.01, place, f"{value:.3f}", va="center", color="white", fontweight="bold")
    seconds = [row["seconds"] for row in rows]
    right.barh(places, seconds, color=colours)
    right.set_xscale("log")
    right.set_xlim(min(seconds) / 3, max(seconds) * 4)
    right.set_xlabel("seconds (logarithmic)")
    for place, value in zip(places, seconds, strict=True):
        right.text(value * 1.1, place, f"{value:.2f} s", va="center")
    figure.suptitle(title, parse_math=False)
    picture = io.BytesIO()
    # Without the program's version in it, equal runs give equal bytes.
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    return picture.getvalue()


def wilson_interval(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a share seen in n trials (Wilson, 1927)."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * ((share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5)
    # The share lies within, which rounding would deny at 0 and at 1.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
