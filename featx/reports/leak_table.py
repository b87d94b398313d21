"""Scores with and without leaked test images, in words and as a table, for all formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from featx.core.csv_cells import csv_line
from featx.reports.checks import names_in_table
from featx.reports.columns import SCORES
from featx.reports.leak_list import LeakList
from featx.reports.rows import runs_in
from featx.reports.tables import Cells, counted
from featx.reports.without_leaks import Without

Row = Mapping[str, Any]

FIELDS = ("run", "score", "images", "leaked", "on_all", "on_others", "difference", "low", "high")
"""Of a line of CSV."""


class LeakTable:
    """Scores with and without leaked test images.

    Parameters
    ----------
    rows : sequence of mapping
        Those that were scored.
    found : sequence of Without
        By row and score.
    leaks : LeakList
        What leaked.
    reasons : sequence of str
        Why rows have no scores here.
    records : mapping of str to mapping
        The rows' runs' own, by id: they tell what was left out.
    """

    title = "scores without leaked test images"
    captions = ("Rows", "Scores")

    def __init__(
        self,
        rows: Sequence[Row],
        found: Sequence[Without],
        leaks: LeakList,
        reasons: Sequence[str],
        records: Mapping[str, Row],
    ) -> None:
        self._rows, self._found, self._leaks, self._reasons, self._records = rows, found, leaks, reasons, records

    def tables(self) -> list[Cells]:
        """Return the rows by number, and their scores; nothing where no test image leaked."""
        if not self._found:
            return []
        names = names_in_table(self._rows)
        images = {one.row: one for one in self._found}
        rows = [
            [str(i + 1), names[i], f"{one.images:,}", f"{one.leaked:,}", _excluded(self._record(i))]
            for i, one in sorted(images.items())
        ]
        scores = [
            [
                f"{one.row + 1}",
                SCORES[one.score],
                f"{one.on_all:.4f}",
                f"{one.on_others:.4f}",
                f"{one.difference:+.4f}",
                "" if one.interval is None else f"{one.interval[0]:+.4f} to {one.interval[1]:+.4f}",
            ]
            for one in self._found
        ]
        said_of_rows = ["#", "row", "test images", "leaked", "--exclude"]
        said_of_scores = ["#", "score", "on all", "without leaked", "difference", "over images"]
        return [
            (said_of_rows, rows, [head in ("row", "--exclude") for head in said_of_rows]),
            (said_of_scores, scores, [head == "score" for head in said_of_scores]),
        ]

    def lines(self) -> list[str]:
        """Return what a reader must know of the table, in sentences."""
        pairs = counted(len(self._leaks.pairs), "pair", "pairs")
        said = [f"No score without leaked test images: {reason}." for reason in self._reasons]
        if not self._found:
            return [f"{self._leaks.path} has {pairs} of images.", *said]
        return [
            f"Leaked: test images that {self._leaks.path} ({pairs}) joins with an image that is not one of them.",
            "Intervals over images: 95 %, stratified paired bootstrap of the test rows.",
            "Leaked images may be easier or harder than others: a run that left their like out of training (--exclude) "
            "shows which difference is left without them.",
            *said,
        ]

    def csv(self) -> str:
        """Return a line a row and score, numbers in full."""
        lines = [[*self._about(one).values(), *(one.interval or (None, None))] for one in self._found]
        return csv_line(FIELDS) + "".join(map(csv_line, lines))

    def document(self) -> list[dict[str, Any]]:
        """Return the scores for JSON."""
        return [
            {**self._about(one), "interval": one.interval, "excluded_rows": self._record(one.row).get("excluded_rows")}
            for one in self._found
        ]

    def _record(self, i: int) -> Row:
        return self._records[runs_in(self._rows[i])[0]]

    def _about(self, one: Without) -> dict[str, Any]:
        values = {name: getattr(one, name) for name in FIELDS[1:-2]}
        return {"run": " ".join(runs_in(self._rows[one.row])), **values}


def _excluded(record: Row) -> str:
    """Return how many images of which splits a run left out."""
    counts = record.get("excluded_rows")
    return ", ".join(f"{n} of {split}" for split, n in counts.items()) if isinstance(counts, Mapping) else "none"
