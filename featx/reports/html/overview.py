"""The table of results: accuracy with its interval, cost, what tells the rows apart; and the checks below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from featx.errors import first_few
from featx.reports.columns import BY_IMAGES, MEASURED, ON_REQUEST, OTHER_SCORES, Column, chosen, filled
from featx.reports.differences import accuracy_of, interval_of
from featx.reports.html.content import Content
from featx.reports.html.markup import Safe, details, esc, listed, name
from featx.reports.html.tables import table
from featx.reports.rows import by_name, line_text
from featx.reports.tables import counted

Row = Mapping[str, Any]

OWN = ("run", "test accuracy", "train accuracy", "seed")
"""Columns of other reports in whose place this one has its own."""

MORE = {name: ON_REQUEST[name] for name in (f"test {shown}" for shown in OTHER_SCORES.values())}
MAIN = ("images", "val accuracy", "test loss", *MORE, *BY_IMAGES, "seconds", "trainable")
"""Columns of the first table; the others stand in the second."""

APART = "What tells the rows apart, and their speed"
READ = (
    "Test accuracies of several seeds are means, and their intervals Student's over the seeds, which say nothing of "
    "how other test images would come out; of one seed they are Wilson's over the test images. The best of many rows "
    "looks better than it is: the same test images chose it. Scores are of the test images unless they say val; images "
    "are those that were learnt from."
)


def overview(content: Content, columns: Sequence[str] | None) -> Safe:
    """Return the table, a line for runs that differ in their seed only, what tells the rows apart, and checks."""
    rows = by_name(content.rows)
    runs = sum(len(row["runs"]) for row in rows)
    caption = f"{counted(runs, 'run', 'runs')} in {counted(len(rows), 'row', 'rows')}"
    if columns is not None:
        return Safe(_table(content, caption, chosen(columns, rows), rows) + _checks(content))
    scores = {key: column for key, column in MORE.items() if any(column.text(row) for row in rows)}
    found = {key: column for key, column in filled(rows).items() if key not in OWN} | scores
    same = {
        key: c for key, c in found.items() if key not in (*MEASURED, *MORE) and len({c.text(row) for row in rows}) == 1
    }
    told = {key: column for key, column in found.items() if key not in (*MAIN, *same)}
    main = {
        **SCORES,
        **{key.removeprefix("test "): found[key] for key in MAIN if key in found and key not in same},
        "seeds": SEEDS,
    }
    main |= {"test images": _sets(content)} if len(content.groups) > 1 else {}
    apart = details(APART, _apart(content, told, rows)) if told else ""
    return Safe(
        f'{_table(content, caption, main, rows)}<p class="note">{READ}</p>{_same(same, rows)}{apart}{_checks(content)}'
    )


def _table(content: Content, caption: str, columns: Mapping[str, Column], rows: Sequence[Row]) -> Safe:
    lines = [
        [str(i + 1), name(content.hows[i]), *(column.text(row) for column in columns.values())]
        for i, row in enumerate(rows)
    ]
    words = [False, True, *(column.words for column in columns.values())]
    return table(caption, ["#", "how", *columns], lines, words, limit=content.room(65_000))


def _apart(content: Content, columns: Mapping[str, Column], rows: Sequence[Row]) -> Safe:
    """Return what differs; of few rows a line an option, for which a narrow page has room."""
    if len(columns) <= len(rows):
        return _table(content, APART, columns, rows)
    lines = [[key, *(column.text(row) for row in rows)] for key, column in columns.items()]
    heads = ["by row of the table above", *(str(i + 1) for i in range(len(rows)))]
    return table(APART, heads, lines, [True] * len(heads), limit=content.room(65_000))


def _same(columns: Mapping[str, Column], rows: Sequence[Row]) -> str:
    said = "; ".join(f"{key} {column.text(rows[0])}" for key, column in columns.items())
    about = "Of this row" if len(rows) == 1 else "Same for all"
    return f'<p class="note">{about}: {esc(said, 3000)}.</p>' if said else ""


def _interval(row: Row) -> str | None:
    ends, _ = interval_of(row)
    return None if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


SCORES = {"test accuracy": Column(accuracy_of, lambda value: f"{value:.4f}"), "95 % interval": Column(_interval)}
SEEDS = Column(lambda row: row.get("seed"), words=True)


def _sets(content: Content) -> Column:
    """Return the column that says which rows may be ranked together."""
    of = {id(content.rows[place]): f"set {i + 1}" for i, group in enumerate(content.groups) for place in group}
    by_run = {str(row["run"]) + str(row["runs"]): of[id(row)] for row in content.rows}
    return Column(lambda row: by_run[str(row["run"]) + str(row["runs"])], words=True)


def _checks(content: Content) -> Safe:
    """Return what is doubtful about the rows, and what mends it."""
    items = [
        Safe(
            f"<code>{esc(check.code)}</code> {_numbers(check.rows)}: {esc(check.says, 700)}. "
            f"<em>{esc(line_text(check.remedy), 500)}.</em>"
        )
        for check in content.checks
    ]
    return Safe(f"<h3>Checks</h3>{listed(items, kind='checks')}") if items else Safe("")


def _numbers(places: Sequence[int]) -> str:
    numbers = first_few([str(place + 1) for place in places], 12)
    return f"{'row' if len(places) == 1 else 'rows'} {numbers}"
