"""Runs as one HTML file that asks nobody for anything: it holds its style and figures, and runs no script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from featx.core.run_folder import Run
from featx.errors import StoreError
from featx.reports.answer import answer_of
from featx.reports.check import Check
from featx.reports.confusion import Confusion
from featx.reports.html.calibration import calibration
from featx.reports.html.confusions import confusion_html, confusions
from featx.reports.html.content import Content, Row
from featx.reports.html.curves import curves
from featx.reports.html.differences import differences, told_html
from featx.reports.html.facts import commands, data_facts, options
from featx.reports.html.layers import layer_maps, sweeps
from featx.reports.html.markup import Safe, esc, joined, listed
from featx.reports.html.mistakes import DATA, mistakes
from featx.reports.html.overview import overview
from featx.reports.html.style import CSS
from featx.reports.html.trade_off import trade_off
from featx.reports.over_images import over_images
from featx.reports.rows import short_name
from featx.reports.tables import counted
from featx.reports.told import Told

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What a browser may load for the page: nothing but what it holds."""


def page(
    runs: Sequence[Run],
    *,
    home: Path | None = None,
    title: str | None = None,
    columns: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
    images: bool = False,
) -> str:
    """Return a report of runs as one HTML document.

    Parameters
    ----------
    runs : sequence of Run
        Runs that differ in their seed only are one row; those without a record, or with a damaged one, are left out,
        which is said.
    home : Path, optional
        Where other runs are, which may have trained the networks that these begin with, and where hashes of images
        are remembered.
    title : str, optional
        In place of one made of the sources' names.
    columns : sequence of str, optional
        Of the table of results, as `featx.reports.columns.chosen` takes them.
    names : mapping of str to str, optional
        By the runs' ids, what their rows are called; others are called by how they learn.
    images : bool
        Whether the table shows intervals over the test images, as `featx.reports.over_images.over_images` gives them.

    Raises
    ------
    OptionError
        There is no such column.
    StoreError
        None of the runs can be read.
    """
    content = Content.of(runs, home, names or {})
    if not content.rows:
        raise StoreError("none of these runs has a record that can be read", "`featx runs ls` lists the runs")
    if images:
        content.rows, reasons = over_images(content.rows, {run.id: run for run in content.runs})
        content.left_out = [*content.left_out, *(f"No interval over images: {reason}." for reason in reasons)]
    for thrift in THRIFT:
        content.thrift = thrift
        found = _page(content, home, title, columns)
        if len(found.encode()) - _thumbnails(found) <= LARGEST:
            break
    return found


def _page(content: Content, home: Path | None, title: str | None, columns: Sequence[str] | None) -> str:
    parts = {
        "results": ("Results", overview(content, columns)),
        **{key: (head, make(content, home)) for key, (head, make) in SECTIONS.items()},
    }
    shown = {key: part for key, part in parts.items() if part[1]}
    links = listed(Safe(f'<a href="#{key}">{head}</a>') for key, (head, _) in shown.items())
    body = joined(
        f'<section aria-labelledby="{key}"><h2 id="{key}">{head}</h2>{text}</section>\n'
        for key, (head, text) in shown.items()
    )
    notes = "".join(f'<p class="note">{esc(line, 2000)}</p>' for line in content.left_out)
    return document(
        title or _title(content),
        f'{_answer(content)}{notes}<nav aria-label="Contents">{links}</nav>{body}',
    )


def table_page(rows: Sequence[Row], columns: Sequence[str] | None, checks: Sequence[Check]) -> str:
    """Return the table of rows alone, of which no runs are at hand, with the answer and the checks."""
    content = Content([], [{"runs": [row.get("run")], **row} for row in rows], [], checks)
    return document(_title(content), f"{_answer(content)}{overview(content, columns)}{trade_off(content)}")


def confusion_page(found: Confusion) -> str:
    """Return a confusion matrix and recall by class as a document."""
    return document(f"featx: run {found.run}", confusion_html(found))


def told_page(found: Told) -> str:
    """Return an answer about rows, such as which of them differ, as a document."""
    return document(f"featx: {found.title}", told_html(found))


def document(title: str, body: str) -> str:
    """Return a whole HTML document; its body is HTML."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f'<title>{esc(title)}</title><style>{CSS}</style></head>\n<body><a class="skip" href="#main">Skip to the '
        f'report</a><main id="main"><h1>{esc(title)}</h1>\n{body}</main>'
        '<footer><p class="note">Made by featx report.</p></footer></body></html>\n'
    )


LARGEST = 500_000
"""Bytes of a page, without its thumbnails."""

THRIFT = (1.0, 0.6, 0.35, 0.2)
"""Shares of their bytes that the parts have, until the page is small enough; each says what it leaves out."""

SECTIONS: dict[str, tuple[str, Callable[[Content, Path | None], str]]] = {
    "differences": ("Which differences are beyond chance", lambda content, _: differences(content)),
    "cost": ("Accuracy and cost", lambda content, _: trade_off(content)),
    "curves": ("Learning curves", lambda content, _: curves(content)),
    "layers": ("Layers", lambda content, _: layer_maps(content)),
    "sweeps": ("Sweeps", lambda content, _: sweeps(content)),
    "confusion": ("What is taken for what", lambda content, _: confusions(content)),
    "mistakes": ("Most confident mistakes", mistakes),
    "reliability": ("How sure, and how often right", lambda content, _: calibration(content)),
    "data": ("Data", lambda content, _: data_facts(content)),
    "options": ("Options, versions, devices and keys", lambda content, _: options(content)),
    "commands": ("Commands", lambda content, _: commands(content)),
}
"""By the name of a link to it, a part of the report: its heading, and what makes it; left out where it is empty."""


def _thumbnails(text: str) -> int:
    """Return how many bytes of a page are pictures."""
    return sum(len(part.partition('"')[0]) for part in text.split(f'src="{DATA}')[1:])


def _answer(content: Content) -> str:
    said = "".join(f"<p>{esc(line, 2000)}</p>" for line in answer_of(content.rows, content.runs, content.among))
    return f'<div class="answer" role="note" aria-label="The answer">{said}</div>'


def _title(content: Content) -> str:
    names = dict.fromkeys(short_name(row.get("source")) for row in content.rows)
    runs = counted(sum(len(row["runs"]) for row in content.rows), "run", "runs")
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"featx: {runs} on {', '.join([*names][:3])}{more}"
