"""What makes two sources the same."""

from __future__ import annotations

from typing import Any

from featx.data.source import Source


def facts(source: Source) -> tuple[Any, ...]:
    """Return everything that two sources of equal images agree in."""
    return list(source.ids), source.labels.tolist(), source.classes, source.fingerprint(), source.split
