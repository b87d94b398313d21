"""What any format can show: tables with captions, and sentences below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from featx.reports.tables import Cells


class Told(Protocol):
    """An answer about a table's rows, as tables for people and lines for programs."""

    @property
    def title(self) -> str:
        """Of a page."""

    @property
    def captions(self) -> Sequence[str]:
        """Of the tables, one each."""

    def tables(self) -> list[Cells]:
        """Return the tables; none where there is nothing to show."""

    def lines(self) -> list[str]:
        """Return what a reader must know of them, in sentences."""

    def csv(self) -> str:
        """Return all of it for programs, numbers in full."""
