"""What the checks of a table look at: its rows, the records behind them, and which may be ranked together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.core.run_folder import Run
from featx.core.statistics import wilson_interval
from featx.errors import StoreError
from featx.reports.among import Among
from featx.reports.comparable import comparable
from featx.reports.over_seeds import LARGEST
from featx.reports.rows import Recorded, is_number, line_text, part_of

MANY = 1e12
"""No part has as many images."""

Row = Mapping[str, Any]
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """What a check has found.

    Parameters
    ----------
    says : str
        In general; without a full stop.
    remedy : str
        The command or option that mends it; without a full stop.
    rows : mapping of int to str
        By the position of each row that it is about, what is said of that row alone; may be empty.
    """

    says: str
    remedy: str
    rows: Mapping[int, str]


@dataclass(frozen=True)
class Table:
    """A table's rows and what is known of them.

    Parameters
    ----------
    rows : sequence of mapping
        As they are shown.
    records : sequence of sequence of mapping
        By row, the records of its runs.
    groups : sequence of sequence of int
        Positions of the rows that may be ranked together.
    runs : mapping of str to Run
        By id, those that have a folder, and may have predictions in it.
    among : Among, optional
        The rows' pairs, where they have been tested.
    """

    rows: Sequence[Row]
    records: Sequence[Sequence[Record]]
    groups: Sequence[Sequence[int]]
    runs: Mapping[str, Run]
    among: Among | None = None

    @classmethod
    def of(cls, rows: Sequence[Row], runs: Iterable[Recorded], among: Among | None = None) -> Table:
        """Look up the records of a table's rows; a run that cannot be read has none."""
        found: dict[str, Record] = {}
        folders: dict[str, Run] = {}
        for run in runs:
            with suppress(StoreError):
                record = run.read()
                found[line_text(record.get("run") or run.id)] = record
            folders |= {run.id: run} if isinstance(run, Run) else {}
        records = [[found[name] for name in _names_in(row) if name in found] for row in rows]
        return cls(rows, records, comparable(rows), folders, among)

    def each(self, look: Callable[[Record], str | None]) -> dict[int, str]:
        """Return what `look` says of each row's runs: the first thing, and of how many runs where not of all."""
        found: dict[int, str] = {}
        for i, records in enumerate(self.records):
            told = [said for record in records if (said := look(record)) is not None]
            if told:
                some = f"{len(told)} of {len(records)} runs" if len(told) < len(records) else ""
                found[i] = ", ".join(filter(None, [told[0], some]))
        return found

    def score(self, i: int, part: str = "test") -> float | None:
        """Return a row's accuracy on a part."""
        return number(part_of(self.rows[i], "accuracy", part))

    def interval(self, i: int, part: str = "test") -> tuple[float, float]:
        """Return the 95 % interval (Wilson) of a row's accuracy on a part; of no width where its images are unknown."""
        accuracy, n = self.score(i, part), number(part_of(self.rows[i], "rows", part))
        if accuracy is None or not 0 <= accuracy <= 1 or n is None or not 1 <= n < MANY:
            return accuracy or 0.0, accuracy or 0.0
        return wilson_interval(accuracy, int(n))

    def ranked(self, group: Iterable[int]) -> list[int]:
        """Return the rows of a group that have a test accuracy, best first."""
        return sorted((i for i in group if self.score(i) is not None), key=lambda i: -(self.score(i) or 0.0))


def several(row: Row) -> bool:
    """Tell whether a row is of several runs."""
    return len(_names_in(row)) > 1


def _names_in(row: Row) -> list[str]:
    runs = row.get("runs")
    return list(map(line_text, runs)) if isinstance(runs, list) and runs else [line_text(row.get("run"))]


def number(value: Any) -> float | None:
    """Return a record's value if it is a finite number."""
    return float(value) if is_number(value) and abs(value) < LARGEST else None


def test_counts(record: Record) -> list[int]:
    """Return how many test rows each class has; nothing where the record has no matrix of whole numbers."""
    try:
        matrix = np.array(part_of(record, "confusion", "test"))
    except (ValueError, OverflowError):  # lines of different lengths
        return []
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] > 0
    if not square or matrix.dtype.kind != "i" or matrix.min() < 0:
        return []
    counts: list[int] = matrix.sum(axis=1).tolist()
    return counts
