"""The table of a comparison: its plan, its rows as they finish, drawn anew on a terminal, and its result."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from featx.cli.output import Output, is_fancy, width_of
from featx.cli.progress import LineProgress, Meter, stage_key
from featx.cli.text import human_seconds
from featx.core.specs import Progress, no_progress
from featx.core.statistics import summary
from featx.errors import printable
from featx.reports.tables import Head, table_lines

if TYPE_CHECKING:
    from featx.recipes.compare import Row, Rows
    from featx.recipes.comparison import Comparison

PLAN = ("how", ">seeds", ">epochs", ">about")
RESULT = ("how", ">seeds", ">test accuracy", ">95 % interval", ">seconds", ">trainable")

HEADS = (
    Head("how", folds=True),
    *(Head(name, right=True) for name in ("seeds", "test accuracy", "seconds")),
)
"""Of the table that fills."""

PER_SECOND = 4
"""How often the table is drawn anew."""


def plan_lines(comparison: Comparison, rows: Rows) -> list[tuple[str, ...]]:
    """Return the plan's cells, in the order of the table."""
    return [
        (line["how"], f"{line['seeds']}", f"{line['epochs'] or ''}", _about(line)) for line in planned(comparison, rows)
    ]


def _about(line: Mapping[str, Any]) -> str:
    if line["done"] == line["seeds"]:
        return "done"
    return human_seconds(line["seconds"]) + (f", {line['done']} done" if line["done"] else "")


def planned(comparison: Comparison, rows: Rows) -> list[dict[str, Any]]:
    """Return what is to be run: ``how``, ``seeds``, ``done`` of them, ``epochs``, and the ``seconds`` of the rest."""
    budget, found = comparison.budget, []
    for row in rows.rows:
        name = row.experiment.name
        if name in budget.epochs:
            price = comparison.prices.get(name)
            seconds = price.planned(budget.epochs[name]).seconds(budget.seeds, comparison.done) if price else None
            done = sum((name, seed) in comparison.done for seed in budget.seeds)
            epochs = budget.epochs[name] or None
            found.append({"how": name, "seeds": len(budget.seeds), "done": done, "epochs": epochs, "seconds": seconds})
    return found


def result_lines(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the cells of what was found, of `featx.recipes.result`."""
    return [
        (
            row["how"],
            str(len(row["seeds"])),
            _score(row["accuracy"]),
            "" if row["interval"] is None else f"{row['interval'][0]:.3f} to {row['interval'][1]:.3f}",
            "" if row["seconds"] is None else f"{row['seconds']:.1f}",
            "" if row["trainable"] is None else f"{row['trainable']:,.0f}",
        )
        for row in rows
    ]


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


@contextmanager
def shown(out: Output, rows: Rows) -> Iterator[Table]:
    """Give what is told how a comparison goes: a table that is drawn anew on a terminal, lines elsewhere."""
    with ExitStack() as stack:
        yield (LiveTable if is_fancy(sys.stderr) and not out.quiet else Table)(out, rows, stack)


class Table:
    """Says a line a finished run; a `featx.recipes.comparison.Watch`."""

    def __init__(self, out: Output, rows: Rows, stack: ExitStack) -> None:
        self.out, self.rows, self.stack = out, rows, stack

    def start(self, comparison: Comparison) -> None:
        """Begin to show what is run."""

    def says(self, line: str) -> None:
        """See `Watch`."""
        self.out.note(line)

    def begins(self, row: Row, seed: int) -> Progress:
        """See `Watch`."""
        if self.out.quiet:
            return no_progress
        lines = LineProgress(self.out.note, "images", time.monotonic)

        def progress(stage: str, done: int, total: int) -> None:
            lines(f"{row.experiment.name}, seed {seed}, {stage}", done, total)

        return progress

    def ends(self, row: Row, records: Sequence[Mapping[str, Any]]) -> None:
        """See `Watch`."""
        record = records[-1]
        accuracy, seconds = record["accuracy"].get("test"), record["seconds"]["total"]
        name = f"{row.experiment.name}, seed {record['seed']}"
        self.out.say(f"{name}: test accuracy {_score(accuracy)}, {seconds:.1f} s")


class LiveTable(Table):
    """Draws the table anew while it fills; the lines beside it stand above it, and it vanishes at the end."""

    def __init__(self, out: Output, rows: Rows, stack: ExitStack) -> None:
        super().__init__(out, rows, stack)
        self.comparison: Comparison | None = None
        self.running = ""
        self.stage = ""
        self.meter: Meter | None = None

    def start(self, comparison: Comparison) -> None:
        """Begin to draw."""
        from rich.console import Console
        from rich.live import Live

        self.comparison = comparison
        self.live = Live(
            console=Console(file=sys.stderr),
            get_renderable=self._drawn,
            refresh_per_second=PER_SECOND,
            transient=True,
        )
        self.stack.enter_context(self.live)

    def begins(self, row: Row, seed: int) -> Progress:
        """See `Watch`."""
        self.running, self.stage, self.meter = f"{row.experiment.name}, seed {seed}", "", None

        def progress(stage: str, done: int, total: int) -> None:
            now = time.monotonic()
            if self.meter is None or self.meter.stage != stage_key(stage):
                self.meter = Meter(stage_key(stage), done, now)
            rest = self.meter.describe(done, total, now, "images")
            self.stage = f"{stage}, {rest}" if rest else stage

        return progress

    def ends(self, row: Row, records: Sequence[Mapping[str, Any]]) -> None:
        """See `Watch`: the table shows it."""

    def _drawn(self) -> Any:
        from rich.text import Text

        assert self.comparison is not None
        cells = [self._line(row) for row in self.rows.rows if row.experiment.name in self.comparison.budget.epochs]
        width = width_of(sys.stderr)
        lines = [*table_lines(HEADS, cells, width), "", *map(printable, (self.running, self.stage))]
        return Text("\n".join(line[:width] for line in lines))

    def _line(self, row: Row) -> tuple[str, ...]:
        assert self.comparison is not None
        name, seeds = row.experiment.name, len(self.comparison.budget.seeds)
        records = list(self.comparison.records[name].values())
        if not records:
            price = self.comparison.prices.get(name)
            expected = price and price.one(is_first=True, epochs=self.comparison.budget.epochs[name])
            return name, f"0 of {seeds}", "", f"about {human_seconds(expected)}" if expected else ""
        told = summary([record["accuracy"]["test"] for record in records])
        half = "" if told["interval"] is None else f" ± {told['interval'][1] - told['mean']:.3f}"
        seconds = summary([record["seconds"]["total"] for record in records])["mean"]
        return name, f"{len(records)} of {seeds}", f"{told['mean']:.3f}{half}", f"{seconds:.1f}"
