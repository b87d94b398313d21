"""``featx report RUN --confusion``: what one run takes for what, and how much of each class it finds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from featx.cli.output import Output, to_json
from featx.cli.targets import picture_kind
from featx.cli.text import counted
from featx.reports.formats import FORMATS

if TYPE_CHECKING:
    from featx.core.run_folder import Run
    from featx.reports.confusion import Confusion


def show_confusion(out: Output, run: Run, style: str, output: Path | None) -> None:
    """Print a run's confusion matrix and recall by class; draw them where `output` is a picture's name."""
    from featx.core.outputs import write_output
    from featx.reports.confusion import confusion_of

    found = confusion_of(run)
    document = found.as_dict()
    text = FORMATS[style].confusion(found) if style in FORMATS else to_json(document) + "\n"
    kind = None if output is None else picture_kind(output)
    if output is not None:
        data = _draw(found, kind, run) if kind else text.encode("utf-8", "backslashreplace")
        write_output(output, data)
        out.say(f"wrote {output}, {counted(len(found.classes), 'class', 'classes')}")
    if (output is None or kind) and not out.json:
        click.echo(text, nl=False)
    out.result(document)


def _draw(found: Confusion, kind: str, run: Run) -> bytes:
    from featx.reports.confusion_figure import confusion_figure
    from featx.reports.rows import names_of, rows_of

    title = f"{names_of(rows_of([run]))[0] or 'run'}\n{found.run}, {found.part} rows"
    return confusion_figure(found, title, kind)
