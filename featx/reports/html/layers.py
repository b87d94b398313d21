"""What several layers, or several strengths of regularisation, gave on the validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from featx.reports.html.content import Content
from featx.reports.html.figures import colour, figure
from featx.reports.html.markup import Safe, joined, name, shortened
from featx.reports.html.svg import BOTTOM, TOP, Axis, Plot, linear, logarithmic
from featx.reports.html.tables import table
from featx.reports.rows import is_number, line_text, part_of

FIGURES = 4
"""So many rows have a layer map, and so many a curve of their sweep; the first of each row's runs."""

MOST = 60
"""Layers that are drawn; the table has more."""

LINE, NAMES, NAME = 20, 130, 18
"""Pixels of a layer's line and of the room for names, and characters of a name."""


def layer_maps(content: Content) -> Safe:
    """Return a figure for each row that chose one of several layers."""
    found = [(place, lines) for place in range(len(content.rows)) if len(lines := _lines(content, place)) > 1]
    return joined(_layer_map(content, place, lines, f"layers-{i}") for i, (place, lines) in enumerate(found[:FIGURES]))


def _lines(content: Content, place: int) -> list[Mapping[str, Any]]:
    layers = content.runs_of(place)[0].record.get("layers")
    lines = [line for line in layers if isinstance(line, dict)] if isinstance(layers, list) else []
    return [line for line in lines if _is_share(part_of(line, "accuracy", "val"))]


def _is_share(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1


def _layer_map(content: Content, place: int, lines: Sequence[Mapping[str, Any]], key: str) -> Safe:
    run = content.runs_of(place)[0]
    chosen, drawn = line_text(run.record.get("layer")), lines[:MOST]
    values = [line["accuracy"]["val"] for line in drawn]
    n = len(drawn)
    rows = Axis("", n - 0.5, -0.5)
    plot = Plot(_across(values), rows, height=LINE * n + TOP + BOTTOM, left=NAMES)
    for i, (line, value) in enumerate(zip(drawn, values, strict=True)):
        is_best = line_text(line.get("layer")) == chosen
        plot.dot((value, i), "c1" if is_best else "c0", square=is_best)
        plot.text(NAMES - 6, plot.at((value, i))[1] + 4, shortened(line_text(line.get("layer")), NAME), "r")
    best = max(values)
    title = f"Validation accuracy by layer: {content.label(place)}"
    svg = plot.svg(key, title, f"{n} layers, from {min(values):.3f} to {best:.3f}; chosen: {chosen}.")
    caption = f"{title}. From the first layer to the last; the chosen one, {shortened(chosen, 80)}, is the square. "
    caption += f"Of run {run.id}."
    return figure([svg], caption, _layer_table(content, lines))


def _across(values: Sequence[float]) -> Axis:
    """Return the axis of accuracies, with room beside the first and the last."""
    room = 0.05 * (max(values) - min(values))
    return linear([min(values) - room, max(values) + room], "validation accuracy")


def _layer_table(content: Content, lines: Sequence[Mapping[str, Any]]) -> Safe:
    heads = ["layer", "columns", "bytes", "C", "val accuracy", "seconds of the fit"]
    cells = [
        [
            name(line_text(line.get("layer")), 80),
            *(line_text(line.get(what)) for what in ("columns", "bytes", "C")),
            f"{line['accuracy']['val']:.4f}",
            _seconds(part_of(line, "seconds", "fit")),
        ]
        for line in lines
    ]
    return table("Layers", heads, cells, [True, *[False] * 5], limit=content.room(10_000))


def _seconds(value: Any) -> str:
    return f"{value:.2f}" if is_number(value) else ""


def sweeps(content: Content) -> Safe:
    """Return validation accuracy against what was swept over, for the first rows that have it."""
    found = [(place, search) for place in range(len(content.rows)) if (search := _search(content, place))]
    if not found:
        return Safe("")
    plots = [_sweep(content, place, search, f"sweep-{i}") for i, (place, search) in enumerate(found[:FIGURES])]
    lines = [
        [content.label(place), line_text(value), f"{accuracy:.4f}", "chosen" if value == search["chosen"] else ""]
        for place, search in found[:FIGURES]
        for value, accuracy in search["points"]
    ]
    heads, words = ["how", "value", "val accuracy", "chosen"], [True, False, False, True]
    numbers = table("Values that were tried", heads, lines, words, limit=content.room(10_000))
    caption = "Validation accuracy of each value that was tried; the square was chosen. A choice at the edge of what "
    caption += "was tried may not be the best there is."
    return figure(plots, caption, numbers)


def _search(content: Content, place: int) -> dict[str, Any]:
    search = content.runs_of(place)[0].record.get("search")
    if not isinstance(search, dict) or not isinstance(search.get("values"), list):
        return {}
    scores = search.get("accuracy")
    pairs = zip(search["values"], scores if isinstance(scores, list) else [], strict=False)
    points = sorted((v, a) for v, a in pairs if is_number(v) and 0 < v < 1e300 and v > 1e-300 and _is_share(a))
    over = line_text(search.get("over"))
    return {"points": points, "chosen": search.get("chosen"), "over": over} if len(points) > 1 else {}


def _sweep(content: Content, place: int, search: Mapping[str, Any], key: str) -> Safe:
    points = search["points"]
    plot = Plot(
        logarithmic([x for x, _ in points], shortened(search["over"], 40)),
        linear([y for _, y in points], "validation accuracy"),
    )
    plot.add(f'<g class="l {colour(place)}" transform="scale(.5)">{plot.path(points)}</g>')
    for point in points:
        is_chosen = point[0] == search["chosen"]
        plot.dot(point, "c1" if is_chosen else colour(place), square=is_chosen, size=5 if is_chosen else 3)
    best = max(y for _, y in points)
    desc = f"{len(points)} values from {points[0][0]:g} to {points[-1][0]:g}; the best gives {best:.4f}."
    return plot.svg(key, f"Sweep: {content.label(place)}", desc)
