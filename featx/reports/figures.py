"""Pictures of runs."""

from __future__ import annotations

import io
import itertools
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from featx.core.statistics import wilson_interval as wilson_interval  # looked for here, too
from featx.errors import FeatxWarning

COLOURS = {"fit": "#4477aa", "train": "#cc6677"}
"""Of cached features and of end-to-end training; told apart also by those who see colours otherwise."""

PALETTE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")
"""Of runs drawn over each other: Paul Tol's "bright" scheme, for those as well."""

METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}
"""What a picture's file would say of its making: equal runs give equal bytes."""


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
    return saved(figure, "png")


def training_curves(
    history: Sequence[Mapping[str, float]], best_epoch: int, title: str, kinds: Sequence[str]
) -> dict[str, bytes]:
    """Draw loss and accuracy by epoch, of training and validation, and return the pictures.

    Parameters
    ----------
    history : sequence of dict
        A line an epoch, as a training's record has them.
    best_epoch : int
        The epoch whose weights were kept; it is marked.
    kinds : sequence of str
        Of ``png``, ``svg`` and ``pdf``.

    Returns
    -------
    dict of str to bytes
        By kind; equal histories give equal bytes.
    """
    figure, pair = _epochs_figure(3.6, layout=None)  # what a layout engine finds out takes longer than to draw
    figure.subplots_adjust(left=0.075, right=0.985, bottom=0.14, top=0.88, wspace=0.2)
    for axes, what in pair:
        for part, colour, style in (("train", COLOURS["fit"], "-"), ("val", COLOURS["train"], "--")):
            _plot(axes, history, f"{part}_{what}", style, color=colour, label=part)
        axes.axvline(best_epoch, color="#999999", linewidth=0.8, label="kept")
        axes.legend()
    figure.suptitle(title, parse_math=False)
    return {kind: saved(figure, kind) for kind in kinds}


def overlaid_curves(runs: Sequence[tuple[str, Sequence[Mapping[str, float]]]], kind: str) -> bytes:
    """Draw loss and accuracy of several trainings over each other, a colour each, and return the picture.

    Parameters
    ----------
    runs : sequence of (str, sequence of dict)
        Each with its name and history.
    kind : str
        ``png``, ``svg`` or ``pdf``.
    """
    figure, pair = _epochs_figure(3.8 + 0.22 * len(runs), layout="constrained")
    for axes, what in pair:
        for (_, history), colour in zip(runs, itertools.cycle(PALETTE)):
            _plot(axes, history, f"train_{what}", "-", color=colour, linewidth=1)
            _plot(axes, history, f"val_{what}", "--", color=colour, linewidth=1.6)
    styles = [Line2D([], [], color="#333333", linestyle=style) for style in ("-", "--")]
    colours = [Line2D([], [], color=colour) for _, colour in zip(runs, itertools.cycle(PALETTE))]
    names = ["train", "validation", *(textwrap.shorten(name, 110, placeholder="...") for name, _ in runs)]
    legend = figure.legend([*styles, *colours], names, loc="outside lower left", frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return saved(figure, kind)


def _epochs_figure(height: float, layout: Literal["constrained"] | None) -> tuple[Figure, list[tuple[Axes, str]]]:
    """Return a figure and its two axes over the epochs, each with what it shows."""
    figure = Figure(figsize=(9, height), layout=layout)
    FigureCanvasAgg(figure)
    pair = list(zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True))
    for axes, what in pair:
        axes.set_xlabel("epoch")
        axes.set_ylabel(what)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure, pair


def _plot(axes: Axes, history: Sequence[Mapping[str, float]], name: str, style: str, **look: Any) -> None:
    """Draw one column of a history, where every line of it has it."""
    if all(name in line for line in history):
        mark = "o" if len(history) == 1 else ""  # a line through one point is not seen
        axes.plot([line["epoch"] for line in history], [line[name] for line in history], style, marker=mark, **look)


def sweep_curve(search: Mapping[str, Any], title: str, kind: str = "png") -> bytes:
    """Draw validation accuracy against C, the chosen one marked, and return the picture.

    Parameters
    ----------
    search : dict
        ``values`` (the C), ``accuracy`` and ``chosen``, as the record of a sweep has them.
    kind : str
        ``png``, ``svg`` or ``pdf``.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    values, accuracy, chosen = search["values"], search["accuracy"], search["chosen"]
    best = accuracy[values.index(chosen)]
    axes.plot(values, accuracy, "o-", color=COLOURS["fit"], markersize=4)
    axes.plot([chosen], [best], "o", color=COLOURS["train"], markersize=9, label=f"C = {chosen:.3g}: {best:.4f}")
    axes.set_xscale("log")
    axes.set_xlabel("C (inverse regularisation strength)")
    axes.set_ylabel("validation accuracy")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.legend()
    figure.suptitle(title, parse_math=False)
    return saved(figure, kind)


def layer_map(lines: Sequence[Mapping[str, Any]], best: str, title: str, kind: str = "png") -> bytes:
    """Draw each layer's validation accuracy, and beside it its bytes and its fit's milliseconds; return the picture.

    Parameters
    ----------
    lines : sequence of dict
        ``layer``, ``accuracy`` (of ``val``, and of ``test`` for the best one), ``bytes``, ``seconds`` (of ``fit``),
        from the first layer to the last, as the record of a fit on several layers has them.
    best : str
        The layer whose test accuracy is told: the one that the validation rows chose.
    kind : str
        ``png``, ``svg`` or ``pdf``.
    """
    lines = [line for line in lines if "val" in line["accuracy"]]  # a halving drops others on fewer rows
    figure = Figure(figsize=(10, 0.45 * len(lines) + 1.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, sharey=True, width_ratios=(2, 1, 1))
    places = list(range(len(lines)))
    accuracy = [line["accuracy"]["val"] for line in lines]
    colours = [COLOURS["train"] if line["layer"] == best else COLOURS["fit"] for line in lines]
    _join_poolings(left, [line["layer"] for line in lines], accuracy)
    left.scatter(accuracy, places, color=colours, s=60, zorder=2)
    low, high = min(accuracy), max(accuracy)
    room = max(high - low, 0.02)
    left.set_xlim(low - 0.1 * room, high + 0.75 * room)
    for place, line, value in zip(places, lines, accuracy, strict=True):
        test = f"   test {line['accuracy']['test']:.3f}" if line["layer"] == best and "test" in line["accuracy"] else ""
        left.text(value + 0.04 * room, place, f"{value:.3f}{test}", va="center")
    left.set_yticks(places, [line["layer"] for line in lines], parse_math=False)
    left.set_ylim(len(lines) - 0.4, -0.6)
    left.set_xlabel("validation accuracy")
    left.grid(axis="x", color="#dddddd", linewidth=0.6)
    sizes = [line["bytes"] / 1e6 for line in lines]
    times = [1000 * line["seconds"]["fit"] for line in lines]
    for axes, values, label in ((middle, sizes, "features, MB"), (right, times, "fit, ms")):
        axes.barh(places, values, color=colours, height=0.6)
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 3, max(values) * 40)  # room for the numbers
        axes.set_xlabel(f"{label} (logarithmic)")
        for place, value in zip(places, values, strict=True):
            axes.text(value * 1.15, place, f"{value:,.0f}" if value >= 10 else f"{value:.2g}", va="center")
    figure.suptitle(title, parse_math=False)
    return saved(figure, kind)


def _join_poolings(axes: Axes, layers: Sequence[str], accuracy: Sequence[float]) -> None:
    """Draw a line through the layers of each pooling: along it, only the depth changes."""
    poolings: dict[str, list[int]] = {}
    for place, layer in enumerate(layers):
        poolings.setdefault(layer.partition(":")[2] or "flat", []).append(place)
    for (pooling, places), style in zip(poolings.items(), itertools.cycle(("-", "--", ":", "-."))):
        axes.plot([accuracy[p] for p in places], places, style, color="#999999", zorder=1, label=pooling)
    if len(poolings) > 1:
        axes.legend(loc="lower left", frameon=False)


def saved(figure: Figure, kind: str) -> bytes:
    """Return a picture's bytes, without date and version in them; warns of letters that the font lacks."""
    picture = io.BytesIO()
    # Names that do not change from run to run; letters as TrueType, since printers and journals refuse Type 3.
    look = rc_context({"svg.hashsalt": "featx", "pdf.fonttype": 42})
    with look, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        figure.savefig(picture, format=kind, dpi=120, metadata=METADATA[kind])
    if heard:
        said = "the figure's font lacks some characters of these names and shows them as boxes"
        warnings.warn(said, FeatxWarning, stacklevel=3)
    return picture.getvalue()
