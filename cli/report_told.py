"""``featx report --differences`` and ``--leaks``: answers about rows, in each format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli.output import Output, to_json
from featx.cli.text import counted
from featx.reports.formats import FORMATS

if TYPE_CHECKING:
    from featx.core.run_folder import Run
    from featx.reports.told import Told

Rows = Sequence[dict[str, Any]]


def show_differences(out: Output, rows: Rows, runs: Sequence[Run], score: str, style: str, output: Path | None) -> None:
    """Print how every two rows of the same test images differ, and whether that is beyond chance."""
    from featx.reports.beyond_chance import compared
    from featx.reports.difference_table import DifferenceTable

    found = DifferenceTable(rows, compared(rows, {run.id: run for run in runs}, score))
    document = {"rows": rows, "differences": found.document(), "notes": found.lines()}
    _show(out, found, document, style, output, counted(len(found.found.pairs), "pair", "pairs"))


def show_leaks(out: Output, rows: Rows, runs: Sequence[Run], file: str, style: str, output: Path | None) -> None:
    """Print the rows' scores with and without leaked test images."""
    from featx.reports.leak_list import read_leaks
    from featx.reports.leak_table import LeakTable
    from featx.reports.without_leaks import without_leaks

    leaks = read_leaks(file)
    scores, reasons = without_leaks(rows, {run.id: run for run in runs}, leaks)
    found = LeakTable(rows, scores, leaks, reasons, {run.id: run.read() for run in runs})
    document = {"rows": rows, "without_leaks": found.document(), "notes": found.lines()}
    _show(out, found, document, style, output, counted(len(scores), "score", "scores"))


def _show(out: Output, found: Told, document: dict[str, Any], style: str, output: Path | None, count: str) -> None:
    from featx.core.outputs import write_output
    from featx.core.run_folder import jsonable

    text = FORMATS[style].told(found) if style in FORMATS else to_json(jsonable(document)) + "\n"
    if output is not None:
        write_output(output, text.encode("utf-8", "backslashreplace"))
        out.say(f"wrote {output}, {count}")
    elif not out.json:
        click.echo(text, nl=False)
    out.result(document)
