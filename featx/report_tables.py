"""Runs side by side, as tables for documents: Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from featx.missing import missing_lines, missing_of
from featx.reports import OPTIONS, decimal, is_number, line_text, part_of, seconds_text, varied_options

Row = Mapping[str, Any]

MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{c: "\\" + c for c in "\\`*_[]|~"}}
LATEX = {
    **{c: "\\" + c for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
}
"""What stands for a character that has a meaning of its own."""


class Column:
    """One column of the tables.

    Parameters
    ----------
    read : callable
        Gives a row's value; None where it has none.
    show : callable
        Writes it for people; not used where `read` gave None.
    words : bool
        Whether the values are words, which stand to the left.
    """

    def __init__(self, read: Callable[[Row], Any], show: Callable[[Any], str] = line_text, words: bool = False) -> None:
        self.read, self._show, self.words = read, show, words

    def text(self, row: Row) -> str:
        """Return a row's cell."""
        value = self.read(row)
        return "" if value is None else self._show(value)


class Score(Column):
    """A score of one part; of several seeds, with the half width of its interval."""

    def __init__(self, name: str, part: str) -> None:
        super().__init__(lambda row: part_of(row, name, part))
        self._name, self._part = name, part

    def text(self, row: Row) -> str:
        """Return a row's cell."""
        return decimal(self.read(row), part_of(row, f"{self._name}_interval", self._part))


class Lack(Column):
    """The classes that some part of the rows has no images of."""

    def __init__(self) -> None:
        super().__init__(lambda row: "; ".join(missing_lines(missing_of(row), named=None)) or None, words=True)

    def text(self, row: Row) -> str:
        """Return a row's cell, which names the first of many."""
        return line_text("; ".join(missing_lines(missing_of(row))))


def _field(name: str, *, words: bool = False) -> Column:
    return Column(lambda row: row.get(name), words=words)


def _of(name: str, part: str, show: Callable[[Any], str] = line_text) -> Column:
    return Column(lambda row: part_of(row, name, part), show)


def _count(value: Any) -> str:
    return f"{value:,.0f}" if is_number(value) else ""


def _megabytes(value: Any) -> str:
    return f"{value / 1e6:.2f}" if is_number(value) else ""


def _milliseconds(value: Any) -> str:
    return f"{value:.4f}" if is_number(value) else ""


_WORDS = (
    *("run", "source", "seed", "backbone", "weights", "layer", "views", "mode", "unfreeze_from", "head", "init_head"),
    *("sweep", "precision", "optimizer", "schedule", "augment", "class_weight", "penalty", "normalize"),
)
_NAMES = (
    *("run", "source", "images", "seed", "backbone", "weights", "layer", "views", "mode", "unfreeze_from", "head"),
    *("init_head", "C", "k", "sweep", "shots", *OPTIONS, "epochs", "columns", "bytes"),
)
COLUMNS: dict[str, Column] = {
    **{name: _field(name, words=name in _WORDS) for name in _NAMES},
    "parameters": _of("parameters", "total", _count),
    "trainable": _of("parameters", "trainable", _count),
    "frozen": _of("parameters", "frozen", _count),
    "MB": _of("parameter_bytes", "total", _megabytes),
    "trainable MB": _of("parameter_bytes", "trainable", _megabytes),
    "frozen MB": _of("parameter_bytes", "frozen", _megabytes),
    "train accuracy": Score("accuracy", "train"),
    "val accuracy": Score("accuracy", "val"),
    "test accuracy": Score("accuracy", "test"),
    "test loss": Score("loss", "test"),
    "ms/image": _of("inference", "ms_per_image", _milliseconds),
    "images/s": _of("inference", "images_per_second", _count),
    "s/epoch": Column(lambda row: row.get("seconds_per_epoch"), seconds_text),
    "seconds": _of("seconds", "total", seconds_text),
    "processor": _field("processor", words=True),
    "missing": Lack(),
}
"""By their heads, in order; a table has those that any of its rows fills, and of `OPTIONS` those that differ."""


def to_markdown(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    filled = _filled(rows)
    rule = ["---" if column.words else "---:" for column in filled.values()]
    cells = [[_escaped(column.text(row), MARKDOWN) for column in filled.values()] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in [list(filled), rule, *cells])


def to_latex(rows: Sequence[Row]) -> str:
    """Return rows as a LaTeX tabular; its lines are those of the package booktabs."""
    filled = _filled(rows)
    lines = [list(filled), *([column.text(row) for column in filled.values()] for row in rows)]
    head, *body = (" & ".join(_escaped(cell, LATEX) for cell in line) + r" \\" for line in lines)
    align = "".join("l" if column.words else "r" for column in filled.values())
    return "\n".join(
        [rf"\begin{{tabular}}{{{align}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""]
    )


def to_csv(rows: Sequence[Row]) -> str:
    """Return rows as CSV, its numbers in full."""
    filled = _filled(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(filled)
    for row in rows:
        found = [column.read(row) for column in filled.values()]
        writer.writerow([value if is_number(value) else line_text(value) for value in found])
    return text.getvalue()


def _filled(rows: Sequence[Row]) -> dict[str, Column]:
    left_out = set(OPTIONS) - set(varied_options(rows))
    kept = {name: column for name, column in COLUMNS.items() if name not in left_out}
    return {name: column for name, column in kept.items() if any(column.text(row) for row in rows)}


def _escaped(cell: str, escapes: Mapping[str, str]) -> str:
    return "".join(escapes.get(c, c) for c in cell)
