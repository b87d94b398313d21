"""What a check says of a table's rows, and how that is shown with them; `featx.reports.checks` finds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featx.reports.rows import wrapped

Row = Mapping[str, Any]

NOT_COMPARABLE = "not-comparable"
MARK = "*"
"""Behind the test scores of the rows with this code, which are not to be compared with most others."""


@dataclass(frozen=True)
class Check:
    """What is doubtful about rows of a table.

    Parameters
    ----------
    code : str
        Short and stable, such as ``C-at-edge``; one line of a report for each.
    says : str
        What was found, and of which runs. One line; names in it are escaped for terminals, not for documents.
    remedy : str
        The command or option that mends it.
    rows : tuple of int
        Positions of the rows in the table.
    """

    code: str
    says: str
    remedy: str
    rows: tuple[int, ...]


def marked(rows: Sequence[Row], checks: Iterable[Check]) -> list[Row]:
    """Return rows for a table whose test scores carry a mark where they are not to be compared with most others."""
    others = {i for check in checks if check.code == NOT_COMPARABLE for i in check.rows}
    return [{**row, "mark": MARK} if i in others else row for i, row in enumerate(rows)]


def check_lines(checks: Iterable[Check]) -> list[str]:
    """Return the checks as lines for people, none wider than a page: code, what was found, what mends it."""
    return [line for check in checks for line in wrapped(check_text(check), more="  ")]


def check_text(check: Check) -> str:
    """Return a check as one line."""
    return f"{check.code}: {check.says}. {check.remedy}."
