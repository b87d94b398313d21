"""A figure of a report: plots side by side, what they show in words, and the same as a table."""

from __future__ import annotations

from collections.abc import Sequence

from featx.reports.html.markup import Safe, details, esc, joined
from featx.reports.html.style import COLOURS

MANY = 12
"""Most lines or marks that a key under a figure names; of more, the table does."""


def figure(plots: Sequence[str], caption: str, table: str, *, key: str = "") -> Safe:
    """Return plots with their key, their caption and, on demand and in print, their numbers."""
    return Safe(
        f'<figure><div class="panels">{joined(plots)}</div>{key}<figcaption>{esc(caption, 2000)}</figcaption>'
        "</figure>\n"
        f"{details('The numbers as a table', table)}"
    )


def colour(place: int) -> str:
    """Return the class of a row's colour, which is the same in all figures."""
    return f"c{place % COLOURS}"


def key_of(names: Sequence[tuple[int, str]], more: str = "") -> Safe:
    """Return which colour is whose; nothing for more than a reader could tell apart."""
    items = [f'<li><i class="{colour(place)}"></i><bdi>{esc(text, 100)}</bdi></li>' for place, text in names]
    shown = items if len(items) <= MANY else []
    return Safe(f'<ul class="key">{joined(shown)}{more}</ul>') if shown or more else Safe("")
