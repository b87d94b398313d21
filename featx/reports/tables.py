"""Tables in each notation: lines of text for a terminal, which rich sets, Markdown and LaTeX."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from featx.errors import printable

GAP, FOLDED = 2, 10
"""Blanks between columns, and the width below which no column is folded."""

MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{c: "\\" + c for c in "\\`*_[]|~"}}
LATEX = {
    **{c: "\\" + c for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\symbol{34}",  # in every encoding of fonts
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "±": r"$\pm$",
}
"""Replacements of characters with a special meaning."""

Cells = tuple[list[str], list[list[str]], list[bool]]
"""Heads, lines, and which columns are words."""


def counted(n: int, one: str, many: str) -> str:
    """Return a number with its noun: ``1 run``, ``3,000 runs``."""
    return f"{n:,} {one if n == 1 else many}"


@dataclass(frozen=True)
class Head:
    """Heading of a column of text.

    Parameters
    ----------
    name : str
        Its words.
    right : bool
        Whether the column is right-aligned.
    folds : bool
        Whether its cells may wrap if a table is too wide.
    """

    name: str
    right: bool = False
    folds: bool = False


def table_lines(
    heads: Sequence[Head], rows: Iterable[Sequence[object]], width: int | None = None, *, fancy: bool = False
) -> list[str]:
    """Return a table's lines without trailing blanks, with escape sequences only if `fancy`; nothing is cut away.

    Parameters
    ----------
    heads : sequence of Head
        Of the columns.
    rows : iterable of sequence
        Cells; what cannot be printed is spelled out.
    width : int, optional
        Characters a line, if columns fold; without it as many as there are.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[printable(cell) for cell in row] for row in rows]
    widths = _natural(heads, cells)
    if width is not None:
        widths = fold_widths(widths, [head.folds for head in heads], width - GAP * (len(heads) - 1))
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for head, wide in zip(heads, widths, strict=True):
        table.add_column(Text(head.name), justify="right" if head.right else "left", overflow="fold", width=wide)
    for row in cells:
        table.add_row(*map(Text, row))
    page = io.StringIO()
    console = Console(
        file=page,
        width=sum(widths) + GAP * len(widths),
        force_terminal=fancy,
        force_jupyter=False,
        color_system="auto" if fancy else None,
    )
    console.print(table)
    return [line.rstrip() for line in page.getvalue().splitlines()]


def table_width(heads: Sequence[Head], rows: Sequence[Sequence[str]]) -> int:
    """Return how many characters a line of a table has that is not folded."""
    return sum(_natural(heads, rows)) + GAP * (len(heads) - 1)


def _natural(heads: Sequence[Head], cells: Sequence[Sequence[str]]) -> list[int]:
    from rich.cells import cell_len

    return [max(map(cell_len, column)) for column in zip([head.name for head in heads], *cells, strict=True)]


def fold_widths(natural: Sequence[int], folds: Sequence[bool], room: int) -> list[int]:
    """Return the columns' widths: the widest that may fold gives way, down to `FOLDED`, until all fit."""
    widths = list(natural)
    while sum(widths) > room:
        widest = max((i for i, fold in enumerate(folds) if fold), key=widths.__getitem__, default=None)
        if widest is None or widths[widest] <= FOLDED:
            break  # a line that is too long loses nothing, a cell cut off would
        widths[widest] -= 1
    return widths


def text_heads(names: Sequence[str], words: Sequence[bool]) -> list[Head]:
    """Return the heads of a table of `Cells`: columns of words stand to the left, none folds."""
    return [Head(name, right=not left) for name, left in zip(names, words, strict=True)]


def text_table(heads: Sequence[str], lines: Sequence[Sequence[str]], words: Sequence[bool]) -> str:
    """Return a table as lines of text, two blanks between columns."""
    return "\n".join(table_lines(text_heads(heads, words), lines)) + "\n"


def markdown_table(heads: Sequence[str], lines: Sequence[Sequence[str]], words: Sequence[bool]) -> str:
    """Return a table in Markdown; columns of `words` stand to the left."""
    rule = ["---" if left else "---:" for left in words]
    cells = [[escaped(cell, MARKDOWN) for cell in line] for line in lines]
    shown = [[escaped(head, MARKDOWN) for head in heads], rule, *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in shown)


def latex_table(
    heads: Sequence[str], lines: Sequence[Sequence[str]], words: Sequence[bool], comments: Sequence[str] = ()
) -> str:
    """Return a LaTeX tabular; its lines are those of the package booktabs, a comment may stand above each."""
    head, *body = (_latex_line(line) for line in [heads, *lines])
    align = "".join("l" if left else "r" for left in words)
    told = [line for pair in zip(comments, body, strict=True) for line in pair] if comments else body
    return "\n".join(
        [rf"\begin{{tabular}}{{{align}}}", r"\toprule", head, r"\midrule", *told, r"\bottomrule", r"\end{tabular}", ""]
    )


def _latex_line(cells: Sequence[str]) -> str:
    line = " & ".join(escaped(cell, LATEX) for cell in cells) + r" \\"
    return f"{{}}{line}" if line.startswith(("*", "[")) else line  # which the end of the line before would take


def escaped(cell: str, escapes: Mapping[str, str]) -> str:
    """Return a text with its special characters escaped."""
    return "".join(escapes.get(c, c) for c in cell)
