"""What every kind of plain file says of a table, whoever writes it."""

from __future__ import annotations

from collections.abc import Sequence

from featx.cache.table import FeatureTable
from featx.errors import OptionError

Named = tuple[str, str, FeatureTable]
"""A layer, a split (or nothing), and their table."""


def plain_text(text: str) -> str:
    """Return text that UTF-8 and C can spell: bytes of a file name that are no UTF-8, and NULs, become escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def classes_of(tables: Sequence[Named]) -> tuple[str, ...]:
    """Return the class names that the tables share; OptionError where they differ."""
    known = {table.classes for _, _, table in tables if table.classes}
    if len(known) > 1:
        raise OptionError("the tables have different classes", "export them to separate files")
    return known.pop() if known else ()
