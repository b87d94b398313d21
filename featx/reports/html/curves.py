"""Learning curves of trainings over each other: loss and accuracy, by epoch and by seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from featx.reports.html.content import Content
from featx.reports.html.figures import MANY, colour, figure, key_of
from featx.reports.html.markup import Safe, name
from featx.reports.html.svg import Axis, Plot, Point, linear, logarithmic, scaled
from featx.reports.html.tables import table
from featx.reports.rows import is_number

BYTES = 130_000
"""Of all lines together."""

A_LINE, A_POINT = 30, 6
"""Bytes of a line, and of a point of it."""

MOST, LEAST = 120, 5
"""Points of a line."""

STEEP = 100
"""Largest loss over the smallest, from which on the axis is logarithmic."""

CROWD = 60
"""Most trainings whose training lines are drawn beside those of validation."""

LINES = ("train", "val")
WORDS = {"train": "training", "val": "validation"}
WHAT = ("loss", "accuracy")
BY = ("epoch", "seconds")


@dataclass(frozen=True)
class Curve:
    """A training's history: by column, a number an epoch, or None."""

    place: int
    run: str
    columns: Mapping[str, Sequence[float | None]]
    best: Any

    def points(self, by: str, what: str) -> list[Point]:
        """Return where both are known and finite."""
        pairs = zip(self.columns.get(by, ()), self.columns.get(what, ()), strict=False)
        return [(x, y) for x, y in pairs if x is not None and y is not None]


def curves(content: Content) -> Safe:
    """Return the figure of all trainings, and how each ended as its table; empty where there is none."""
    found = [curve for place in range(len(content.rows)) for curve in _of_row(content, place)]
    if not found:
        return Safe("")
    parts = _parts(found)
    per_line = content.room(BYTES) // (len(found) * len(parts) * len(WHAT) * len(BY))
    points = max(LEAST, min(MOST, (per_line - A_LINE) // A_POINT))
    plots = [_plot(found, parts, by, what, points) for by in BY for what in WHAT]
    longest = max(len(curve.columns.get("epoch", ())) for curve in found)
    caption = f"{len(found)} trainings. Solid lines are validation, dashed ones training, which is measured while it "
    caption += "learns, on augmented images if there are any. Seconds are those of training alone, added up."
    caption += (
        f" Of each line at most {points} points are drawn, most of them at its beginning." if longest > points else ""
    )
    caption += f" Of so many, {WORDS[parts[0]]} alone is drawn; the table has both." if len(parts) == 1 else ""
    caption += " Colours repeat." if len({curve.place for curve in found}) > MANY else ""
    more = "".join(f'<li><i class="c6{" t" * (part == "train")}"></i>{WORDS[part]}</li>' for part in parts)
    key = key_of([(place, content.label(place)) for place in dict.fromkeys(curve.place for curve in found)], more)
    return figure([plot for plot in plots if plot], caption, _table(content, found), key=key)


def _parts(found: Sequence[Curve]) -> tuple[str, ...]:
    """Return which lines are drawn: those of training too, unless there are too many to be told apart."""
    if len(found) <= CROWD:
        return LINES
    validated = any(value is not None for curve in found for value in curve.columns["val_loss"])
    return ("val",) if validated else ("train",)


def _of_row(content: Content, place: int) -> list[Curve]:
    found = []
    for run in content.runs_of(place):
        history = run.record.get("history")
        lines = [line for line in history if isinstance(line, dict)] if isinstance(history, list) else []
        if lines:
            found.append(Curve(place, run.id, _columns(lines), run.record.get("best_epoch")))
    return found


def _columns(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    names = ["epoch", *(f"{part}_{what}" for part in LINES for what in WHAT)]
    found = {key: [_finite(line.get(key)) for line in lines] for key in names}
    seconds = [_finite(line.get("seconds")) for line in lines]
    known = [value for value in seconds if value is not None and value >= 0]
    whole = len(known) == len(lines)
    return found | ({"seconds": list(accumulate(known))} if whole else {})


def _finite(value: Any) -> float | None:
    return float(value) if is_number(value) and abs(value) < 1e15 else None


def _plot(found: Sequence[Curve], parts: Sequence[str], by: str, what: str, most: int) -> Safe:
    drawn = {
        (part, i): _thinned(curve.points(by, f"{part}_{what}"), most) for i, curve in enumerate(found) for part in parts
    }
    every = [point for points in drawn.values() for point in points]
    if not every:
        return Safe("")
    across = [point[0] for point in every]
    x = linear(across, by if by == "epoch" else "seconds of training", low=0.0, high=max(across))
    plot = Plot(x, _height([point[1] for point in every], what))
    body = ""
    for i, curve in enumerate(found):
        body += f'<g class="{colour(curve.place)}">'
        body += "".join(_line(plot, drawn[part, i], "t" if part == "train" else "") for part in parts) + "</g>"
    plot.add(scaled("l many" if len(found) > MANY else "l", body))
    ends = [points[-1][1] for (part, _), points in drawn.items() if part == "val" and points]
    desc = f"{len(found)} trainings"
    desc += f"; validation ends between {min(ends):.4g} and {max(ends):.4g}" if ends else ""
    return plot.svg(f"curve-{by}-{what}", f"{what.capitalize()} by {by}", f"{desc}.")


def _line(plot: Plot, points: Sequence[Point], kind: str) -> str:
    inside = [point for point in points if not plot.y.log or point[1] > 0]
    if len(inside) == 1:  # a line through one point is not seen
        x, y = (2 * c for c in plot.at(inside[0]))
        return f'<circle class="d" cx="{x:.0f}" cy="{y:.0f}" r="6"/>'
    return plot.path(inside, kind)


def _height(values: Sequence[float], what: str) -> Axis:
    positive = [value for value in values if value > 0]
    if what == "loss" and positive and max(positive) / min(positive) > STEEP:
        return logarithmic(positive, what)
    return linear(values, what)


def _thinned(points: Sequence[Point], most: int) -> list[Point]:
    """Return so many points at most, the first and the last among them; more at the beginning, where curves bend."""
    if len(points) <= most:
        return list(points)
    places = {math.floor((len(points) - 1) * (i / (most - 1)) ** 1.5 + 0.5) for i in range(most)}
    return [points[place] for place in sorted(places)]


def _table(content: Content, found: Sequence[Curve]) -> Safe:
    heads = [
        "#",
        "run",
        "how",
        "epochs",
        "kept epoch",
        *(f"last {part} {what}" for part in LINES for what in WHAT),
        "seconds",
    ]
    lines = []
    for curve in found:
        last = {key: values[-1] for key, values in curve.columns.items() if values}
        scores = [_shown(last.get(f"{part}_{what}"), 4) for part in LINES for what in WHAT]
        epochs, best = str(len(curve.columns["epoch"])), str(curve.best) if is_number(curve.best) else ""
        how = name(content.hows[curve.place], 60)
        lines.append([str(curve.place + 1), curve.run, how, epochs, best, *scores, _shown(last.get("seconds"), 2)])
    return table("How each training ended", heads, lines, [False, True, True, *[False] * 7], limit=content.room(45_000))


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
