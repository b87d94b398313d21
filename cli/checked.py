"""What is doubtful about the runs that a command has just made, in the words of `featx report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.cli.output import Output

if TYPE_CHECKING:
    from featx.reports.check import Check

TOLD = ("leaked-rows",)
"""Codes whose finding `featx.cli.opening.tell_of_rows` warns of; the document has them all the same."""


def tell_checks(out: Output, home: Path, records: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Note what is doubtful about runs, each by itself, and return it for the document; mostly that is nothing."""
    from featx.core.run_folder import Runs
    from featx.reports.checks import check_text, checks_of_each

    runs = Runs(home)
    found = checks_of_each([runs.open(str(record["run"])) for record in records])
    for check in found:
        if check.code not in TOLD:
            out.note(f"note: {check_text(check)}")
    return found
