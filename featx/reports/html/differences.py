"""Which rows differ by more than chance, as a table of the best of each set of test images."""

from __future__ import annotations

from featx.reports.difference_table import DifferenceTable
from featx.reports.html.content import BEST, Content
from featx.reports.html.markup import Safe, esc, joined, listed
from featx.reports.html.tables import table
from featx.reports.told import Told


def differences(content: Content) -> Safe:
    """Return the pairs of the most accurate rows; empty where nothing can be compared."""
    if content.tested is None or not content.tested.pairs:
        return Safe("")
    found = DifferenceTable(content.rows, content.tested)
    heads, lines, words = found.cells()
    about = f'<p class="note">Rows by their numbers in the table of results; the best {BEST} of each set.</p>'
    return joined([about, table("Differences", heads, lines, words, limit=content.room(20_000)), _said(found)])


def told_html(found: Told) -> Safe:
    """Return all tables of an answer, with what is said of them."""
    tables = [table(name, *cells) for name, cells in zip(found.captions, found.tables(), strict=False)]
    return joined([*tables, _said(found)])


def _said(found: Told) -> Safe:
    return listed(esc(line, 1000) for line in found.lines())
