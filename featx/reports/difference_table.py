"""The differences of a table in words and as a table, for all formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from featx.core.csv_cells import csv_line
from featx.reports.beyond_chance import Compared, Pair, score_of
from featx.reports.checks import names_in_table
from featx.reports.columns import SCORES
from featx.reports.differences import ALPHA
from featx.reports.tables import Cells, counted

Row = Mapping[str, Any]

LINES = 100
"""Pairs that a table for people shows; programs get all."""

HEADS = ["rows", "difference", "over images", "over seeds", "p (Holm)", "clear"]
FIELDS = (
    *("first", "second", "score", "difference", "images_low", "images_high", "seeds_low", "seeds_high"),
    *("p", "p_holm", "beyond_chance", "test", "covers"),
)
"""Of a line of CSV."""


class DifferenceTable:
    """Differences between rows of a table.

    Parameters
    ----------
    rows : sequence of mapping
        Those that were compared.
    found : Compared
        How they differ.
    """

    title = "differences"
    captions = ("Rows", "Differences")

    def __init__(self, rows: Sequence[Row], found: Compared) -> None:
        self.rows, self.found = rows, found
        self._names = names_in_table(rows)

    def lines(self) -> list[str]:
        """Return what a reader must know of the table, in sentences."""
        found, score = self.found, SCORES[self.found.score]
        n, clear = len(found.pairs), sum(pair.is_clear for pair in found.pairs)
        tests = ", ".join(dict.fromkeys(test for pair in found.pairs for test in pair.test.split(", ")))
        said = [
            f"Differences of test {score}, the better row first: {clear} of {counted(n, 'pair', 'pairs')} "
            f"{'is' if clear == 1 else 'are'} clear, beyond chance at {ALPHA:g}, p-values adjusted by Holm "
            "for all pairs of the table."
            if n
            else f"No two of these rows can be compared by test {score}."
            if len(self.rows) > 1
            else "Differences are between two rows and more, and there is one."
        ]
        both = any(len(pair.covers) > 1 for pair in found.pairs)
        said += [f"Tests: {tests}{'; of two, the larger p-value counts' if both else ''}."] if n else []
        if any(pair.over_images for pair in found.pairs):
            said.append(
                "Intervals over images: 95 %, stratified paired bootstrap of the test rows, which says nothing of "
                "other seeds; of several seeds, of their mean."
            )
        if any(pair.over_seeds for pair in found.pairs):
            said.append("Intervals over seeds: 95 %, Student's paired t, which says nothing of other test images.")
        said += [f"{counted(found.apart, 'pair', 'pairs')} of other test images not compared."] if found.apart else []
        said += [f"Without predictions by image: {line}." for line in found.untold]
        return said + ([f"{n - LINES:,} more pairs: --format csv or json has all."] if n > LINES else [])

    def legend(self) -> Cells:
        """Return the rows that the pairs are of, by number."""
        shown = sorted({i for pair in self.found.pairs[:LINES] for i in (pair.first, pair.second)})
        lines = [[str(i + 1), self._names[i], f"{score_of(self.rows[i], self.found.score):.4f}"] for i in shown]
        return ["#", "row", f"test {SCORES[self.found.score]}"], lines, [False, True, False]

    def cells(self) -> Cells:
        """Return the pairs as a table."""
        lines = [[*self._pair(pair)] for pair in self.found.pairs[:LINES]]
        kept = [i for i, head in enumerate(HEADS) if not head.startswith("over") or any(line[i] for line in lines)]
        words = [HEADS[i] in ("rows", "clear") for i in kept]
        return [HEADS[i] for i in kept], [[line[i] for i in kept] for line in lines], words

    def tables(self) -> list[Cells]:
        """Return what tables show: the rows by number, and the pairs; nothing where there are none."""
        return [self.legend(), self.cells()] if self.found.pairs else []

    def csv(self) -> str:
        """Return a line a pair, numbers in full."""
        return csv_line(FIELDS) + "".join(csv_line(self._full(pair).values()) for pair in self.found.pairs)

    def document(self) -> list[dict[str, Any]]:
        """Return the pairs for JSON."""
        return [
            {
                "first": self._run(pair.first),
                "second": self._run(pair.second),
                "score": self.found.score,
                "difference": pair.value,
                "interval_over_images": pair.over_images,
                "interval_over_seeds": pair.over_seeds,
                "p": pair.p,
                "p_holm": pair.p_holm,
                "beyond_chance": pair.is_clear,
                "test": pair.test,
                "covers": list(pair.covers),
            }
            for pair in self.found.pairs
        ]

    def _pair(self, pair: Pair) -> Iterator[str]:
        yield from (f"{pair.first + 1} - {pair.second + 1}", f"{pair.value:+.4f}")
        for ends in (pair.over_images, pair.over_seeds):
            yield "" if ends is None else f"{ends[0]:+.4f} to {ends[1]:+.4f}"
        yield from (f"{pair.p_holm:.2g}", "yes" if pair.is_clear else "no")

    def _full(self, pair: Pair) -> dict[str, Any]:
        images, seeds = pair.over_images or (None, None), pair.over_seeds or (None, None)
        told = (pair.p, pair.p_holm, pair.is_clear, pair.test, " and ".join(pair.covers))
        names = (self._run(pair.first), self._run(pair.second), self.found.score)
        return dict(zip(FIELDS, (*names, pair.value, *images, *seeds, *told), strict=True))

    def _run(self, i: int) -> str:
        runs = self.rows[i].get("runs")
        return " ".join(map(str, runs)) if isinstance(runs, (list, tuple)) and runs else str(self.rows[i].get("run"))
