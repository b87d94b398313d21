"""Checks of single option values, each with an error that names the option."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Sequence
from typing import Any

from featx.errors import OptionError, either


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise OptionError unless `value` is one of `choices`."""
    if value not in choices:
        raise _refused(name, value, f"one of {', '.join(choices)}")


def check_positive(name: str, value: Any) -> None:
    """Raise OptionError unless `value` is a positive finite number."""
    if not (_is_finite(value) and float(value) > 0):
        raise _refused(name, value, "a positive number")


def check_range(name: str, value: Any, below: float = math.inf, *, inclusive: bool = False) -> None:
    """Raise OptionError unless `value` is a number from 0 to less than `below`, or to `below` itself if `inclusive`."""
    fits = _is_finite(value) and (0 <= float(value) < below or (inclusive and float(value) == below))
    if not fits:
        raise _refused(name, value, f"a number from 0 to {'' if inclusive else 'less than '}{below}")


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raise OptionError unless `value` is a whole number of at least `least`."""
    if not (isinstance(value, numbers.Integral) and int(value) >= least):
        raise _refused(name, value, f"a whole number of at least {least}")


BITS = (8, 16)
"""Fewest and most bits of a 16-bit sample that can count."""


def check_bits(bits: Any) -> None:
    """Raise OptionError for a number of bits that cannot count of 16; None is any."""
    if bits is not None and not (isinstance(bits, numbers.Integral) and BITS[0] <= int(bits) <= BITS[1]):
        raise OptionError(f"bits is {bits!r}, expected {BITS[0]} to {BITS[1]}", "for example 12 for a 12-bit camera")


def check_flag(name: str, value: object) -> None:
    """Raise OptionError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise _refused(name, value, "True or False")


def check_text(name: str, value: object, expected: str, hint: str = "") -> None:
    """Raise OptionError unless `value` is a string."""
    if not isinstance(value, str):
        raise _refused(name, value, expected, hint)


def check_path(name: str, value: object, expected: str) -> None:
    """Raise OptionError unless `value` is a path: a string or path-like."""
    if not isinstance(value, (str, os.PathLike)):
        raise _refused(name, value, expected)


def _is_finite(value: Any) -> bool:
    """Tell whether a value is a number that a float can be: whole ones may be too large."""
    try:
        return isinstance(value, numbers.Real) and math.isfinite(value)
    except OverflowError:
        return False


def checked_numbers(name: str, values: Any) -> tuple[float, ...]:
    """Return several numbers as a tuple of floats; OptionError for one alone, and for what is none."""
    try:
        found = None if isinstance(values, (str, bytes)) else tuple(float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None:
        hint = f"give a tuple: ({values},)" if isinstance(values, numbers.Real) else ""
        raise _refused(name, values, "a sequence of numbers", hint)
    return found


def shown(value: object) -> str:
    """Return how an error shows what was found: its value where that is short, else its type."""
    text = repr(value)
    plain = value is None or isinstance(value, (str, bytes, numbers.Number, tuple, list))
    return text if plain and len(text) <= 80 else f"a {type(value).__name__}"


def _refused(name: str, value: object, expected: str, hint: str = "") -> OptionError:
    option = name.replace("_", "-")
    said = either(option, name.replace("-", "_"))
    return OptionError(f"{said} is {shown(value)}, expected {expected}", hint or f"give another --{option}")
