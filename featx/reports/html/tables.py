"""Tables that a screen reader can read: captions, heads with their scope, wide ones in a region that scrolls."""

from __future__ import annotations

from collections.abc import Sequence

from featx.reports.html.markup import Safe, esc, within

Line = Sequence[str]


def table(
    caption: str, heads: Line, lines: Sequence[Line], words: Sequence[bool], *, limit: int = 100_000, kind: str = ""
) -> Safe:
    """Return a table whose first column heads its lines.

    Parameters
    ----------
    caption : str
        What it shows.
    heads : sequence of str
        Of the columns.
    lines : sequence of sequence of str
        Cells; escaped unless they are `Safe`.
    words : sequence of bool
        Which columns are words, and stand to the left.
    limit : int
        Bytes; lines beyond them are left out, which is said.
    kind : str
        A class of the style sheet.
    """
    marks = [' class="w"' if left else "" for left in words]
    top = "".join(f'<th scope="col"{mark}>{esc(head)}</th>' for head, mark in zip(heads, marks, strict=True))
    body, left_out = within([_line(line, marks) for line in lines], limit)
    said = f'<p class="note">{left_out:,} more lines are left out; featx report --format csv has all.</p>'
    return Safe(
        f'<div class="wide" role="region" tabindex="0" aria-label="{esc(caption)}"><table class="{kind}">'
        f"<caption>{esc(caption)}</caption><thead><tr>{top}</tr></thead>\n"
        f"<tbody>{''.join(body)}</tbody></table></div>{said if left_out else ''}"
    )


def _line(line: Line, marks: Line) -> str:
    first, *rest = line
    cells = "".join(f"<td{mark}>{esc(cell)}</td>" for cell, mark in zip(rest, marks[1:], strict=True))
    return f'<tr><th scope="row"{marks[0]}>{esc(first)}</th>{cells}</tr>\n'
