"""``featx report --differences SCORE``: which rows differ by more than chance."""

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


def show_differences(
    out: Output, rows: Sequence[dict[str, Any]], runs: Sequence[Run], score: str, style: str, output: Path | None
) -> None:
    """Print how every two rows of the same test images differ, and whether that is beyond chance."""
    from featx.core.outputs import write_output
    from featx.core.run_folder import jsonable
    from featx.reports.beyond_chance import compared
    from featx.reports.difference_table import DifferenceTable

    found = DifferenceTable(rows, compared(rows, {run.id: run for run in runs}, score))
    document = {"rows": rows, "differences": found.document(), "notes": found.lines()}
    text = FORMATS[style].differences(found) if style in FORMATS else to_json(jsonable(document)) + "\n"
    if output is not None:
        write_output(output, text.encode("utf-8", "backslashreplace"))
        out.say(f"wrote {output}, {counted(len(found.found.pairs), 'pair', 'pairs')}")
    elif not out.json:
        click.echo(text, nl=False)
    out.result(document)
