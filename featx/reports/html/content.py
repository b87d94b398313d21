"""What a report is of: runs that can be read, their rows over seeds, and what is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from featx.core.run_folder import Run, Runs
from featx.errors import FeatxError, first_few
from featx.reports.among import Among
from featx.reports.answer import hows_of
from featx.reports.beyond_chance import Compared, compared
from featx.reports.check import Check
from featx.reports.checks import checks_of
from featx.reports.comparable import comparable
from featx.reports.differences import accuracy_of
from featx.reports.html.markup import shortened
from featx.reports.over_seeds import over_seeds
from featx.reports.rows import rows_of

Row = Mapping[str, Any]

DAMAGE = (AttributeError, ArithmeticError, IndexError, KeyError, TypeError, ValueError, RecursionError)
"""What a record of the wrong types may raise where it is read: anyone may have written it."""

SHOWN = 3
"""So many sets of test images are looked at closely; the largest first."""
BEST = 10
"""Rows of each of them whose differences are shown."""


class ReadRun(Run):
    """A run whose record is read once; it is called as its folder is."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.path)
        self.record = {**run.read(), "run": self.id}

    def read(self) -> dict[str, Any]:
        """Return the record."""
        return self.record


@dataclass
class Content:
    """What a report shows.

    Parameters
    ----------
    runs : sequence of ReadRun
        Those that can be read.
    rows : sequence of mapping
        Over seeds.
    left_out : sequence of str
        In words, what is not shown.
    checks : sequence of Check
        What is doubtful about the rows.
    tested : Compared, optional
        How the rows differ, all pairs of them; None of rows without runs.
    thrift : float
        The share of the bytes that each part may have, at most 1; less, where all of them came to too many.
    """

    runs: Sequence[ReadRun]
    rows: Sequence[Row]
    left_out: Sequence[str]
    checks: Sequence[Check]
    tested: Compared | None = None
    thrift: float = 1.0

    @classmethod
    def of(cls, runs: Iterable[Run], home: Path | None, names: Mapping[str, str]) -> Content:
        """Read runs, some of whose rows have names; those whose record is missing or damaged are left out, and told."""
        found, unfinished, damaged = [], [], []
        for run in runs:
            if not run.is_recorded:
                unfinished.append(run.id)
            elif (one := _read(run)) is None:
                damaged.append(run.id)
            else:
                found.append(one)
        shown = {run.id for run in found}
        others = [] if home is None else [run for run in Runs(home).list() if run.id not in shown]
        mixed = over_seeds(rows_of(found), rows_of(one for run in others if (one := _read(run)) is not None))
        rows = [_named(mixed[place], names) for group in _ranked(mixed) for place in group]
        older = [name for row in rows for name in row["left_out"]]
        told = {
            "without a record: not finished, or still at work": unfinished,
            "with a damaged record": damaged,
            "with the seed of a newer one, in the figures and the table over seeds": older,
        }
        said = [_left_out(names, why) for why, names in told.items() if names]
        tested = compared(rows, {run.id: run for run in found}, best=BEST, sets=SHOWN)
        return cls(found, rows, said, checks_of(rows, found, Among.found(rows, tested)), tested)

    @property
    def among(self) -> Among | None:
        """How sure the rows' differences are among all pairs; None where none was tested."""
        return None if self.tested is None else Among.found(self.rows, self.tested)

    @cached_property
    def hows(self) -> list[str]:
        """By row, how it learns, in words."""
        return hows_of(self.rows)

    @cached_property
    def groups(self) -> list[list[int]]:
        """Rows that may be ranked together, by their places; the most accurate first, the largest group first."""
        return _ranked(self.rows)

    def best(self) -> list[tuple[int, ReadRun]]:
        """Return the most accurate row of each set of test images that is looked at, and the first of its runs."""
        scored = [group[0] for group in self.groups if accuracy_of(self.rows[group[0]]) is not None]
        return [(place, self.runs_of(place)[0]) for place in scored[:SHOWN]]

    def runs_of(self, place: int) -> list[ReadRun]:
        """Return the runs of a row."""
        by_id = {run.id: run for run in self.runs}
        return [by_id[name] for name in self.rows[place]["runs"]]

    def room(self, limit: int) -> int:
        """Return how many bytes a part may have that has so many by itself."""
        return int(limit * self.thrift)

    def label(self, place: int) -> str:
        """Return the number and the name of a row."""
        return f"{place + 1} {self.hows[place]}"


def _ranked(rows: Sequence[Row]) -> list[list[int]]:
    def rank(place: int) -> float:
        accuracy = accuracy_of(rows[place])
        return 1.0 if accuracy is None else -accuracy

    return sorted([sorted(group, key=rank) for group in comparable(rows)], key=len, reverse=True)


def _named(row: Row, names: Mapping[str, str]) -> Row:
    found = [names[run] for run in row["runs"] if run in names]
    return {**row, "name": found[0]} if found else row


def _read(run: Run) -> ReadRun | None:
    with suppress(FeatxError, *DAMAGE):
        found = ReadRun(run)
        hows_of(over_seeds(rows_of([found])))
        return found
    return None


def _left_out(names: Sequence[str], why: str) -> str:
    runs = "1 run" if len(names) == 1 else f"{len(names)} runs"
    return f"Left out: {runs} {why}: {first_few([shortened(name, 60) for name in names])}."
