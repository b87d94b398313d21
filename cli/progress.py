"""How far a long command is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click

from featx.cli.text import human_seconds
from featx.core.specs import Progress, no_progress
from featx.errors import printable

LINE_SECONDS = 5.0
"""No two lines of one stage come faster than this."""

LINE_SHARE = 0.1
"""Share of the work after which a line is due; a long job also gets one each `MAX_SECONDS`."""

MAX_SECONDS = 60.0


class Meter:
    """Rate and remaining time of one stage, counted from its first call: what was reused costs no time."""

    def __init__(self, stage: str, done: int, now: float) -> None:
        self.stage = stage
        self.first = done
        self.began = now

    def rate(self, done: int, now: float) -> float:
        """Return units a second; 0 while it is unknown."""
        seconds = now - self.began
        return (done - self.first) / seconds if seconds > 0 else 0.0

    def describe(self, done: int, total: int, now: float, unit: str) -> str:
        """Return ``54.1 images/s, 15 min 2 s left`` as far as it is known."""
        rate = self.rate(done, now)
        if rate <= 0:
            return ""
        speed = f"{rate:.1f} {unit}/s" if rate < 100 else f"{rate:.0f} {unit}/s"
        return speed if done >= total else f"{speed}, {human_seconds((total - done) / rate)} left"


def stage_key(stage: str) -> str:
    """Return what a stage is told from others by: what stands behind a colon may change while it lasts."""
    return stage.partition(":")[0]


class LineProgress:
    """Progress as plain lines: the first after `LINE_SECONDS`, and one at a stage's end."""

    def __init__(self, write: Callable[[str], Any], unit: str, clock: Callable[[], float]) -> None:
        self.write = write
        self.unit = unit
        self.clock = clock
        self.meter: Meter | None = None
        self.printed = (0.0, 0)

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = self.clock()
        if self.meter is None or self.meter.stage != stage_key(stage):
            self.meter = Meter(stage_key(stage), done, now)
            self.printed = (now, done)
            if done >= total:  # nothing to wait for: it was there already
                return
        if self._due(done, total, now):
            self.printed = (now, done)
            self.write(self._line(stage, done, total, now))

    def _due(self, done: int, total: int, now: float) -> bool:
        then, before = self.printed
        if done >= total:
            return done > before
        waited = now - then
        return waited >= LINE_SECONDS and (waited >= MAX_SECONDS or done - before >= LINE_SHARE * total)

    def _line(self, stage: str, done: int, total: int, now: float) -> str:
        assert self.meter is not None
        rest = self.meter.describe(done, total, now, self.unit)
        share = f"{stage}: {done}/{total} {self.unit} ({100 * done // max(total, 1)} %)"
        return f"{share}, {rest}" if rest else share


@contextmanager
def show_progress(stream: TextIO, *, fancy: bool, quiet: bool, unit: str) -> Iterator[Progress]:
    """Yield a `Progress` that draws on `stream`: a bar if `fancy`, nothing if `quiet`, else lines."""
    if quiet:
        yield no_progress
    elif fancy:
        with bars(stream, unit) as progress:
            yield progress
    else:
        yield LineProgress(lambda line: click.echo(printable(line), file=stream), unit, time.monotonic)


@contextmanager
def bars(stream: TextIO, unit: str) -> Iterator[Progress]:
    """Yield a `Progress` that draws one bar a stage; the bars vanish at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress

    text = [TextColumn(f"{{task.{field}}}", markup=False) for field in ("description", "fields[rest]")]
    display = RichProgress(
        text[0], BarColumn(), MofNCompleteColumn(), text[1], console=Console(file=stream), transient=True
    )
    stages: dict[str, tuple[Any, Meter]] = {}

    def progress(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        key = stage_key(stage)
        if key not in stages:
            stages[key] = display.add_task(printable(stage), total=total, rest=""), Meter(key, done, now)
        task, meter = stages[key]
        rest = meter.describe(done, total, now, unit)
        display.update(task, description=printable(stage), completed=done, total=total, rest=rest)

    with display:
        yield progress
