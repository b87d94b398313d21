"""Text of strangers as HTML: escaped, one line, no longer than a reader needs."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from featx.errors import printable

LONGEST = 300
"""Characters of a value that are shown; of longer ones the number is said."""


class Safe(str):
    """Text that is HTML already."""

    __slots__ = ()


def esc(value: object, longest: int = LONGEST) -> Safe:
    """Return a value as escaped text; `Safe` text as it is. Control characters and direction marks are spelled out."""
    if isinstance(value, Safe):
        return value
    return Safe(html.escape(shortened(value, longest), quote=True))


def shortened(value: object, longest: int = LONGEST) -> str:
    """Return a value as one printable line of at most so many characters, and how many it had."""
    whole = str(value)
    text = printable(whole[: longest + 1])
    if len(whole) <= longest and len(text) <= 4 * longest:
        return text
    return f"{text[:longest]}… ({len(whole):,} characters)"


def name(value: object, longest: int = LONGEST) -> Safe:
    """Return a name, whose direction of writing does not change that of the text around it."""
    return Safe(f"<bdi>{esc(value, longest)}</bdi>")


def joined(parts: Iterable[str]) -> Safe:
    """Return parts that are HTML as one."""
    return Safe("".join(parts))


def listed(items: Iterable[str], tag: str = "ul", kind: str = "") -> Safe:
    """Return a list; its items are escaped unless they are `Safe`."""
    body = "".join(f"<li>{esc(item, 2000)}</li>" for item in items)
    mark = f' class="{kind}"' if kind else ""
    return Safe(f"<{tag}{mark}>{body}</{tag}>") if body else Safe("")


def details(summary: str, body: str) -> Safe:
    """Return what opens on demand, and is open in print."""
    return Safe(f"<details><summary>{esc(summary)}</summary>{body}</details>")


def within(pieces: Sequence[str], limit: int) -> tuple[list[str], int]:
    """Return the first pieces that fit into so many bytes, and how many are left out."""
    kept: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece.encode())
        if size > limit and kept:
            break
        kept.append(piece)
    return kept, len(pieces) - len(kept)


def mapping(value: Any) -> dict[str, Any]:
    """Return a part of a record that should be a mapping; empty where it is something else."""
    return {str(key): part for key, part in value.items()} if isinstance(value, dict) else {}
