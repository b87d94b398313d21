"""The picture of layers against layers: how similar their representations are."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from featx.audit.rows import Floats
from featx.audit.similarity import Similarity
from featx.reports.figures import saved
from featx.reports.rows import line_text

NUMBERED = 16
"""With more layers, the map has colours only: numbers could not be read."""

NAME = 40
"""Longest name of a layer beside the map, in characters; its end, which tells layers apart, is kept."""

LARGEST = 16.0
"""Width of the largest map, in inches; with more layers than have room, not all are named."""

ROOM = 0.13
"""Inches that a name needs."""


def similarity_map(found: Similarity, title: str, kind: str = "png") -> bytes:
    """Draw CKA of layers against layers, beside it the biased estimate in the same colours; return the picture.

    Parameters
    ----------
    found : Similarity
        What to draw.
    title : str
        Above it.
    kind : str
        ``png``, ``svg`` or ``pdf``.
    """
    n = len(found.names)
    side = min(max(0.5 * n if n <= NUMBERED else ROOM * n, 3.0), LARGEST)
    margin = 0.075 * min(max(map(len, found.names)), NAME)
    figure = Figure(figsize=(2 * side + margin + 1.6, side + margin + 1.1), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    image = _map(left, found.cka, found.names)
    _map(right, found.biased, found.names)
    left.set_title("linear CKA, unbiased estimate", fontsize="medium")
    right.set_title(f"biased estimate\n{_floor(found)}", fontsize="medium")
    figure.colorbar(image, ax=[left, right], shrink=0.8, extend="min")
    figure.suptitle(textwrap.fill(title, 80, replace_whitespace=False), parse_math=False, fontsize="medium")
    return saved(figure, kind)


def _floor(found: Similarity) -> str:
    """Say what the biased estimate shows where nothing is in common."""
    apart = found.biased_shuffled[~np.eye(len(found.names), dtype=bool)]
    if np.isnan(apart).all():
        return "(undefined)"
    return f"(of shuffled rows: {np.nanmin(apart):.2f} to {np.nanmax(apart):.2f})"


def _map(axes: Axes, values: Floats, names: Sequence[str]) -> AxesImage:
    colours = mpl.colormaps["Blues"].with_extremes(bad="#f3e3d3")
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    n = len(names)
    places = range(0, n, -(-n * 100 // int(100 * LARGEST / ROOM)))
    size = 9 if n <= NUMBERED else 6
    shown = [_shortened(names[i]) for i in places]
    axes.set_xticks(places, shown, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(places, shown, fontsize=size, parse_math=False)
    if n <= NUMBERED:
        for (i, j), value in np.ndenumerate(values):
            text = "–" if np.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00")
            axes.text(j, i, text, ha="center", va="center", color="white" if value > 0.6 else "#333333", fontsize=8)
    return image


def _shortened(name: str) -> str:
    text = line_text(name)
    return text if len(text) <= NAME else f"…{text[1 - NAME :]}"
