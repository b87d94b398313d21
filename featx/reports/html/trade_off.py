"""Accuracy against what it costs: seconds, and trained parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from featx.reports.differences import Ends, accuracy_of, interval_of
from featx.reports.html.content import SHOWN, Content
from featx.reports.html.figures import colour, figure, key_of
from featx.reports.html.markup import Safe, joined, name
from featx.reports.html.svg import Plot, linear, logarithmic
from featx.reports.html.tables import table
from featx.reports.rows import is_number, part_of

MARKED = 25
"""So many rows, the most accurate, have their number and their interval in a plot."""

NEAR = 13
"""Pixels between two numbers, at least, so that both can be read."""

COSTS = {"seconds": ("seconds", "total"), "trained parameters": ("parameters", "trainable")}
"""By the name of an axis, where a row has it."""


@dataclass(frozen=True)
class Mark:
    """A row as it is drawn: its place in the table, accuracy, interval, costs by name, and kind of run."""

    place: int
    accuracy: float
    interval: Ends | None
    costs: dict[str, float]
    is_training: bool


def trade_off(content: Content) -> Safe:
    """Return a figure for each set of test images that is looked at."""
    groups = [marks for group in content.groups[:SHOWN] if (marks := _marks(content, group))]
    return joined(_figure(content, marks, i, len(groups)) for i, marks in enumerate(groups))


def _marks(content: Content, group: Sequence[int]) -> list[Mark]:
    found = []
    for place in group:
        row = content.rows[place]
        accuracy = accuracy_of(row)
        costs = {what: value for what, where in COSTS.items() if _is_cost(value := part_of(row, *where))}
        if accuracy is not None and costs:
            found.append(Mark(place, accuracy, interval_of(row)[0], costs, row.get("kind") == "train"))
    return found


def _is_cost(value: object) -> bool:
    return is_number(value) and 0 < float(str(value)) < math.inf


def _figure(content: Content, marks: Sequence[Mark], i: int, n: int) -> Safe:
    plots = [
        _plot(marks, what, f"trade-{i}-{j}")
        for j, what in enumerate(COSTS)
        if any(what in mark.costs for mark in marks)
    ]
    caption = (
        "Test accuracy against cost, on a logarithmic axis; better is up and to the left. Bars are 95 % intervals; "
    )
    caption += "circles are fits on features, squares trainings; numbers are those of the table of results. "
    caption += "A fit's seconds are those of its run: where features were stored before, they are not computed again."
    caption += f" Only the {MARKED} most accurate have both, where there is room." if len(marks) > MARKED else ""
    caption = f"Set {i + 1} of test images. {caption}" if n > 1 else caption
    heads = ["#", "how", "test accuracy", *COSTS]
    lines = [
        [str(m.place + 1), name(content.hows[m.place], 100), f"{m.accuracy:.4f}", *(_cost(m, what) for what in COSTS)]
        for m in marks
    ]
    shown = table(
        "Test accuracy and cost", heads, lines, [False, True, False, False, False], limit=content.room(25_000)
    )
    return figure(plots, caption, shown, key=key_of([(m.place, content.label(m.place)) for m in marks]))


def _cost(mark: Mark, what: str) -> str:
    value = mark.costs.get(what)
    return "" if value is None else f"{value:,.2f}" if what == "seconds" else f"{value:,.0f}"


def _plot(marks: Sequence[Mark], what: str, key: str) -> Safe:
    drawn = [mark for mark in marks if what in mark.costs]
    ends = [end for mark in drawn for end in mark.interval or (mark.accuracy,)]
    plot = Plot(logarithmic([mark.costs[what] for mark in drawn], what), linear(ends, "test accuracy"))
    for mark in drawn[:MARKED]:
        _bar(plot, mark, mark.costs[what])
    for mark in drawn:
        plot.dot((mark.costs[what], mark.accuracy), colour(mark.place), square=mark.is_training)
    _numbers(plot, drawn[:MARKED], what)
    best = drawn[0]
    desc = (
        f"{len(drawn)} rows from {min(m.accuracy for m in drawn):.3f} to {best.accuracy:.3f}; number {best.place + 1}, "
    )
    desc += f"the most accurate, has {_cost(best, what)} {what}."
    return plot.svg(key, f"Test accuracy against {what}", desc)


def _bar(plot: Plot, mark: Mark, cost: float) -> None:
    if mark.interval:
        (x, low), (_, high) = (plot.at((cost, end)) for end in mark.interval)
        plot.add(f'<path class="e {colour(mark.place)}" d="M{x:.1f} {low:.1f}V{high:.1f}"/>')


def _numbers(plot: Plot, marks: Sequence[Mark], what: str) -> None:
    """Write each row's number beside its mark, the most accurate first; none where it would hide another."""
    taken: list[tuple[float, float]] = []
    for mark in marks:
        x, y = plot.at((mark.costs[what], mark.accuracy))
        free = [place for place in _beside(x, y) if not any(_near(place, other) for other in taken)]
        if free:
            taken.append(free[0])
            plot.text(*free[0], str(mark.place + 1))


def _beside(x: float, y: float) -> list[tuple[float, float]]:
    return [(x + 7, y + 4), (x + 7, y + 4 + NEAR), (x + 7, y + 4 - NEAR), (x - 7 - NEAR, y + 4)]


def _near(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return abs(one[0] - other[0]) < 1.5 * NEAR and abs(one[1] - other[1]) < NEAR
