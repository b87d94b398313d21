"""Small plots as SVG: axes with ticks, lines and marks; colours and letters are those of the page around them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from featx.reports.html.markup import Safe, esc

WIDTH, HEIGHT = 420, 290
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 44
STEPS = (1, 2, 5, 10)

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """Where values lie along one side of a plot.

    Parameters
    ----------
    label : str
        What they are, with their unit.
    low, high : float
        The ends.
    log : bool
        Whether equal steps are equal ratios; the ends are positive then.
    ticks : tuple of float
        Values that are written.
    """

    label: str
    low: float
    high: float
    log: bool = False
    ticks: tuple[float, ...] = ()

    def share(self, value: float) -> float:
        """Return where a value lies: 0 at the low end, 1 at the high one."""
        if self.log:
            low = math.log(self.low)  # of differences, since a ratio may be no number any more
            return (math.log(value) - low) / (math.log(self.high) - low)
        return (value - self.low) / (self.high - self.low)


def linear(values: Iterable[float], label: str, *, low: float | None = None, high: float | None = None) -> Axis:
    """Return an axis with even steps that holds finite values, and ends at `low` and `high` where they are given."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    first, last = (min(known) if low is None else low), (max(known) if high is None else high)
    if last <= first:
        first, last = (first - 0.5, first + 0.5) if abs(first) < 1e6 else (first * 0.9 - 1, first * 1.1 + 1)
    step = _step((last - first) / 5)
    first = first if low is not None else math.floor(first / step + 1e-9) * step
    last = last if high is not None else math.ceil(last / step - 1e-9) * step
    n = int((last - first) / step + 1e-9) + 1
    begin = math.ceil(first / step - 1e-9)
    ticks = tuple((begin + i) * step for i in range(min(n, 20)) if (begin + i) * step <= last + step * 1e-9)
    return Axis(label, first, last, ticks=ticks)


def logarithmic(values: Iterable[float], label: str) -> Axis:
    """Return an axis of powers of ten that holds positive values."""
    known = [value for value in values if math.isfinite(value) and value > 0] or [1.0, 10.0]
    room = max(1.5, math.sqrt(5 * min(known) / max(known)))  # two of 1, 2, 5, 10, ... at least
    first, last = min(known) / room, max(known) * room
    decades = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    finer = (1.0,) if len(decades) > 4 else (1.0, 2.0, 5.0)
    every = math.ceil(len(decades) / 7)
    ticks = tuple(m * 10.0**d for d in decades[::every] for m in finer if first <= m * 10.0**d <= last)
    return Axis(label, first, last, log=True, ticks=ticks)


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * step for step in STEPS if power * step >= rough * (1 - 1e-9))


@dataclass
class Plot:
    """A plot that is being drawn.

    Parameters
    ----------
    x, y : Axis
        The sides.
    width, height, left : int
        Of the drawing, and of the room for what is written at its left.
    """

    x: Axis
    y: Axis
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    _parts: list[str] = field(default_factory=list)

    def at(self, point: Point) -> Point:
        """Return where a point lies in the drawing."""
        wide, high = self.width - self.left - RIGHT, self.height - TOP - BOTTOM
        return self.left + wide * self.x.share(point[0]), self.height - BOTTOM - high * self.y.share(point[1])

    def add(self, part: str) -> None:
        """Draw SVG on top of what is there."""
        self._parts.append(part)

    def path(self, points: Sequence[Point], kind: str = "") -> str:
        """Return a line through points, in whole halves of a pixel; see `scaled`."""
        places = [tuple(round(2 * c) for c in self.at(point)) for point in points]
        text, before = "", (0, 0)
        for i, (x, y) in enumerate(places):
            text += f"M{x} {y}" if i == 0 else f"l{x - before[0]} {y - before[1]}".replace(" -", "-")
            before = (x, y)
        mark = f' class="{kind}"' if kind else ""
        return f'<path{mark} d="{text}"/>' if text else ""

    def dot(self, point: Point, kind: str, *, square: bool = False, size: float = 4.5) -> None:
        """Draw a mark."""
        x, y = self.at(point)
        if square:
            self.add(
                f'<rect class="d {kind}" x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size}" height="{2 * size}"/>'
            )
        else:
            self.add(f'<circle class="d {kind}" cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>')

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        """Write a text at a place of the drawing."""
        mark = f' class="{kind}"' if kind else ""
        self.add(f'<text{mark} x="{x:.0f}" y="{y:.0f}">{esc(text, 60)}</text>')

    def svg(self, key: str, title: str, desc: str) -> Safe:
        """Return the drawing, which a reader who does not see it is told of; `key` is its own in the page."""
        return Safe(
            f'<svg class="plot" role="img" aria-labelledby="{key}-t {key}-d" viewBox="0 0 {self.width} {self.height}">'
            f'<title id="{key}-t">{esc(title)}</title><desc id="{key}-d">{esc(desc, 900)}</desc>'
            f"{self._frame()}{''.join(self._parts)}</svg>\n"
        )

    def _frame(self) -> str:
        low, right, middle = self.height - BOTTOM, self.width - RIGHT, (self.left + self.width - RIGHT) / 2
        lines, words = [], []
        for tick in self.x.ticks:
            x = self.at((tick, self.y.low))[0]
            lines.append(f"M{x:.0f} {TOP}V{low}")
            words.append(f'<text class="axis m" x="{x:.0f}" y="{low + 16}">{number(tick)}</text>')
        for tick in self.y.ticks:
            y = self.at((self.x.low, tick))[1]
            lines.append(f"M{self.left} {y:.0f}H{right}")
            words.append(f'<text class="axis r" x="{self.left - 6}" y="{y + 4:.0f}">{number(tick)}</text>')
        words.append(f'<text class="axis m" x="{middle:.0f}" y="{self.height - 6}">{esc(self.x.label)}</text>')
        if self.y.label:
            turned = f'transform="translate(12 {(TOP + low) / 2:.0f}) rotate(-90)"'
            words.append(f'<text class="axis m" {turned}>{esc(self.y.label)}</text>')
        return f'<path class="grid" d="{"".join(lines)}"/>{"".join(words)}'


def scaled(kind: str, body: str) -> str:
    """Return what `Plot.path` drew, at its size."""
    return f'<g class="{kind}" transform="scale(.5)">{body}</g>' if body else ""


def number(value: float) -> str:
    """Return a number as an axis tells it.

    Examples
    --------
    >>> [number(value) for value in (0.1 + 0.2, 1500.0, 2e6, 1e-5)]
    ['0.3', '1,500', '2M', '1e-05']
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            shown = value / (1e3 if unit == "k" else size)
            return f"{shown:g}{unit}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"
