"""``featx report RUN --confusion``: what one run takes for what, and how much of each class it finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from featx.cli.output import Output
from featx.cli.targets import picture_kind
from featx.cli.text import counted

if TYPE_CHECKING:
    from featx.core.run_folder import Run
    from featx.reports.confusion import Confusion


def show_confusion(out: Output, run: Run, style: str, output: Path | None) -> None:
    """Print a run's confusion matrix and recall by class; draw them where `output` is a picture's name."""
    from featx.core.outputs import write_output
    from featx.reports.confusion import confusion_of

    found = confusion_of(run)
    document = found.as_dict()
    text = _json(document) if style == "json" else WRITERS[style](found)
    kind = None if output is None else picture_kind(output)
    if output is not None:
        data = _draw(found, kind, run) if kind else text.encode("utf-8", "backslashreplace")
        write_output(output, data)
        out.say(f"wrote {output}, {counted(len(found.classes), 'class', 'classes')}")
    if (output is None or kind) and not out.json:
        click.echo(text, nl=False)
    out.result(document)


def _json(document: dict[str, object]) -> str:
    from featx.cli.output import to_json

    return to_json(document) + "\n"


def _draw(found: Confusion, kind: str, run: Run) -> bytes:
    from featx.reports.confusion_figure import confusion_figure
    from featx.reports.rows import names_of, rows_of

    title = f"{names_of(rows_of([run]))[0] or 'run'}\n{found.run}, {found.part} rows"
    return confusion_figure(found, title, kind)


def _text(found: Confusion) -> str:
    from featx.reports.confusion import fits, said_of
    from featx.reports.formats import text_table

    matrix, by_class = text_table(*found.matrix()), text_table(*found.by_class())
    if not fits(matrix.splitlines()):
        wide = f"The matrix of {len(found.classes)} classes is wider than a page: --format csv, --json and\n"
        matrix = wide + "-o FILE.png have it.\n"
    return "\n".join([said_of(found) + "\n", _explained(found, matrix), by_class])


def _explained(found: Confusion, matrix: str) -> str:
    return f"Confusion matrix, true class down, predicted class across:\n{matrix}"


def _markdown(found: Confusion) -> str:
    from featx.reports.formats import markdown_table

    return f"{markdown_table(*found.by_class())}\n{markdown_table(*found.matrix())}"


def _latex(found: Confusion) -> str:
    from featx.reports.formats import latex_table

    return f"{latex_table(*found.by_class())}\\par\\medskip\n{latex_table(*found.matrix())}"


def _csv(found: Confusion) -> str:
    from featx.core.csv_cells import csv_line

    heads = ["class", "rows", "recall", "precision", *found.classes]
    lines = zip(found.classes, found.rows, found.recall, found.precision, found.counts, strict=True)
    return "".join([csv_line(heads), *(csv_line([*about, *counts]) for *about, counts in lines)])


WRITERS: dict[str, Callable[[Confusion], str]] = {
    "text": _text,
    "md": _markdown,
    "latex": _latex,
    "csv": _csv,
}
