"""Sizes and ages as people type them: ``50GB``, ``1.5TiB``, ``30d``."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import click

from featx.errors import OptionError

BYTES: dict[str, int] = {
    "": 1,
    "B": 1,
    **{f"{prefix}B": 1000 ** (power + 1) for power, prefix in enumerate("KMGTP")},
    **{f"{prefix}iB": 1024 ** (power + 1) for power, prefix in enumerate("KMGTP")},
}
"""Unit -> bytes; capital letters are not asked for."""

SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
"""Unit -> seconds; it is never left out."""

_AMOUNT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([A-Za-z]*)", re.ASCII)
_UNITS = {unit.lower(): size for unit, size in BYTES.items()}


def parse_bytes(text: str) -> int:
    """Return the bytes that ``50GB`` (thousands), ``1.5TiB`` (1,024s) or a bare number means; OptionError if none."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or match[2].lower() not in _UNITS:
        raise OptionError(
            f"{text!r:.40} is not a size, expected for example 50GB, 500MB or 1.5TiB", "give a number and a unit"
        )
    return round(Decimal(match[1]) * _UNITS[match[2].lower()])


def parse_age(text: str) -> float:
    """Return the seconds that ``12h``, ``30d`` or ``8w`` means; OptionError if none."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or match[2].lower() not in SECONDS:
        raise OptionError(
            f"{text!r:.40} is not an age, expected for example 12h, 30d or 8w", "give a number and one of m, h, d, w"
        )
    return float(match[1]) * SECONDS[match[2].lower()]


def max_size(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """Read an option's size."""
    return None if value is None else parse_bytes(value)


def max_age(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """Read an option's age."""
    return None if value is None else parse_age(value)
