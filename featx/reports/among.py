"""How sure the difference of two rows is among all pairs of their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from featx.reports.differences import Difference
from featx.reports.rows import runs_in

if TYPE_CHECKING:
    from featx.core.run_folder import Run
    from featx.reports.beyond_chance import Compared

Row = Mapping[str, Any]
Names = tuple[str, ...]


@dataclass(frozen=True)
class Among:
    """P-values of all pairs of a table that can be tested, adjusted by Holm for how many they are.

    Parameters
    ----------
    p_values : mapping
        By the runs of both rows.
    """

    p_values: Mapping[frozenset[Names], float]

    @classmethod
    def of(cls, rows: Sequence[Row], runs: Mapping[str, Run]) -> Among:
        """Test every pair of rows by accuracy; see `featx.reports.beyond_chance`.

        None is tested where there is only one, or where more would be read than `READ_UNASKED`.
        """
        from featx.reports.beyond_chance import compared  # numpy, scipy
        from featx.reports.kept_rows import READ_UNASKED, predictions_bytes

        names = {name for row in rows for name in runs_in(row)}
        if len(rows) < 3 or predictions_bytes(runs[name] for name in names if name in runs) > READ_UNASKED:
            return cls({})
        return cls.found(rows, compared(rows, runs, draws=0))

    @classmethod
    def found(cls, rows: Sequence[Row], tested: Compared) -> Among:
        """Take the p-values from a comparison of all rows of the table that was made already."""
        return cls({frozenset(_names(rows[i]) for i in pair): p for pair, p in tested.p_holm.items()})

    def told(self, found: Difference, first: Row, second: Row) -> Difference:
        """Return the difference of two rows with its p-value among all pairs, and `how` saying so."""
        p = self.p_values.get(frozenset((_names(first), _names(second))))
        if p is None or len(self.p_values) < 2:
            return found
        return replace(found, p_holm=p, how=f"{found.how}; p = {p:.2g} by Holm among {len(self.p_values):,} pairs")


def _names(row: Row) -> Names:
    return tuple(runs_in(row))
