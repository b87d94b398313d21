"""Checks in words under a table of runs: each says what is doubtful about some rows, and what mends it.

A new check is a function of `featx.reports.check_scores` or `featx.reports.check_fits` and its line in `CHECKS`;
docs/reports.md lists the codes. Records may be of earlier featx, or written by anyone: a check is silent about what
they do not tell, or tell in other types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from featx.errors import first_few
from featx.reports import check_fits, check_scores
from featx.reports.among import Among
from featx.reports.check import NOT_COMPARABLE
from featx.reports.check import Check as Check
from featx.reports.check import check_lines as check_lines
from featx.reports.check import check_text as check_text
from featx.reports.check import marked as marked
from featx.reports.check_table import Found, Table, several
from featx.reports.comparable import comparable
from featx.reports.rows import Recorded, line_text, names_of, rows_of

Row = Mapping[str, Any]

SENTENCES = 3
"""Of so many rows something of their own is said; of the others, how many they are."""

CHECKS: dict[str, Callable[[Table], Found | None]] = {
    NOT_COMPARABLE: check_scores.not_comparable,
    "leaked-rows": check_scores.leaked_rows,
    "excluded-rows": check_scores.excluded_rows,
    "below-majority": check_scores.below_majority,
    "below-pixels": check_scores.below_pixels,
    "interval-too-wide": check_scores.interval_too_wide,
    "few-test-images": check_scores.few_test_images,
    "no-proof": check_fits.no_proof,
    "C-at-edge": check_fits.at_edge,
    "overfits": check_fits.overfits,
    "still-improving": check_fits.still_improving,
    "other-sizes": check_scores.other_sizes,
}
"""By code, in the order of a report: what forbids a comparison first, what can be improved last."""

OF_ONE = {
    "excluded-rows",
    *("leaked-rows", "below-majority", "few-test-images", "no-proof", "C-at-edge", "overfits", "still-improving"),
}
"""Codes that tell of a row by itself; the others compare rows."""


def checks_of(rows: Sequence[Row], runs: Iterable[Recorded], among: Among | None = None) -> list[Check]:
    """Return what is doubtful about the rows of a table, in the order of `CHECKS`; one entry a code at most.

    Parameters
    ----------
    rows : sequence of mapping
        As `featx.reports.rows.rows_of` or `featx.reports.over_seeds.over_seeds` give them.
    runs : iterable of Run
        Those that the rows are of.
    among : Among, optional
        The rows' pairs, where they have been tested; else they are.
    """
    table = Table.of(rows, runs, among)
    names = names_in_table(rows)
    found = [(code, said) for code, check in CHECKS.items() if (said := check(table)) is not None and said.rows]
    return [Check(code, _sentence(said, names), said.remedy, tuple(said.rows)) for code, said in found]


def checks_of_each(runs: Sequence[Recorded]) -> list[Check]:
    """Return what is doubtful about runs, each by itself: nothing that compares them, see `OF_ONE`."""
    return [check for check in checks_of(rows_of(runs), runs) if check.code in OF_ONE]


def groups_of(rows: Sequence[Row], runs: Iterable[Recorded] = ()) -> list[list[Row]]:
    """Return the rows in groups, each scored on the same test images; rows of different groups are never ranked.

    Rows carry what tells (see `featx.reports.comparable`): `runs` need not be given.
    """
    return [[rows[i] for i in group] for group in comparable(rows)]


def _sentence(found: Found, names: Sequence[str]) -> str:
    """Say it of the rows; those of which the same is said, together."""
    same: dict[str, list[str]] = {}
    for i, detail in found.rows.items():
        same.setdefault(detail, []).append(names[i])
    told = [f"{_few(some, names)} ({detail})" if detail else _few(some, names) for detail, some in same.items()]
    more = sum(len(some) for some in [*same.values()][SENTENCES:])
    return f"{found.says}: {'; '.join(told[:SENTENCES])}" + (f"; and {more} more" if more else "")


def _few(some: Sequence[str], every: Sequence[str]) -> str:
    return f"all {len(every)} rows" if len(some) == len(every) > 2 else first_few(some)


def names_in_table(rows: Sequence[Row]) -> list[str]:
    """Return what each row is called: its own name, its run; of several seeds, what tells the row from the others."""
    return [_name(row, words) for row, words in zip(rows, names_of(rows), strict=True)]


def _name(row: Row, words: str) -> str:
    named = row.get("name") or (words if several(row) else None) or row.get("run")
    return line_text(named)
