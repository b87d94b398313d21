"""Checks of single option values, each with an error that names the option."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

from featx.errors import OptionError


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise OptionError unless `value` is one of `choices`."""
    if value not in choices:
        raise _refused(name, value, f"one of {', '.join(choices)}")


def check_positive(name: str, value: Any) -> None:
    """Raise OptionError unless `value` is a positive finite number."""
    if not (isinstance(value, numbers.Real) and 0 < float(value) < math.inf):
        raise _refused(name, value, "a positive number")


def check_range(name: str, value: Any, below: float = math.inf, *, inclusive: bool = False) -> None:
    """Raise OptionError unless `value` is a number from 0 to less than `below`, or to `below` itself if `inclusive`."""
    fits = isinstance(value, numbers.Real) and (0 <= float(value) < below or (inclusive and float(value) == below))
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
        raise OptionError(f"bits is {bits!r}, expected {BITS[0]} to {BITS[1]}", "12 for a camera of 12 bits")


def _refused(name: str, value: object, expected: str) -> OptionError:
    return OptionError(f"{name} is {value!r}, expected {expected}", f"give another --{name}")
