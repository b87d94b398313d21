"""Single option values: what fits passes, and what does not is named with what was expected."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.core.validation import (
    check_bits,
    check_choice,
    check_count,
    check_path,
    check_positive,
    check_range,
    check_text,
    checked_numbers,
    shown,
)
from featx.errors import OptionError, speaking_options

NO_NUMBERS = ("1", None, [1], 1j, math.nan)


def below_one(name: str, value: Any) -> None:
    check_range(name, value, below=1)


def up_to_one(name: str, value: Any) -> None:
    check_range(name, value, below=1, inclusive=True)


@pytest.mark.parametrize(
    ("check", "fits", "wrong"),
    [
        (check_positive, (1, 1e-300, np.float32(2), Fraction(1, 3)), (0, -1, math.inf, 10**400, *NO_NUMBERS)),
        (check_range, (0, 0.0, 1e300, np.int64(3)), (-1e-300, math.inf, -(10**400), *NO_NUMBERS)),
        (below_one, (0, 0.999), (1, 2, *NO_NUMBERS)),
        (up_to_one, (0, 1, np.float64(1)), (math.nextafter(1, 2), -0.1, *NO_NUMBERS)),
        (check_count, (1, 10**30, np.int64(7)), (0, -1, 1.0, 2.5, *NO_NUMBERS)),
    ],
)
def test_numbers(check: Callable[[str, Any], None], fits: tuple[Any, ...], wrong: tuple[Any, ...]) -> None:
    for value in fits:
        check("weight-decay", value)
    for value in wrong:
        with pytest.raises(OptionError, match=r"^weight_decay is .*, expected ") as caught:
            check("weight-decay", value)
        assert "weight_decay=" in caught.value.hint


def test_a_count_may_begin_elsewhere() -> None:
    check_count("seed", 0, least=0)
    with pytest.raises(OptionError, match="seed is 1, expected a whole number of at least 2"):
        check_count("seed", 1, least=2)


def test_choices_are_all_named() -> None:
    check_choice("mode", "b", ("a", "b"))
    with pytest.raises(OptionError, match="mode is 'c', expected one of a, b"):
        check_choice("mode", "c", ("a", "b"))


def test_bits_are_8_to_16_or_whatever_the_file_says() -> None:
    for bits in (None, 8, np.int64(12), 16):
        check_bits(bits)
    for bits in (7, 17, 12.0, "12"):
        with pytest.raises(OptionError, match=f"bits is {bits!r}, expected 8 to 16"):
            check_bits(bits)


def test_texts_and_paths() -> None:
    check_text("backbone", "resnet18", "a name")
    check_path("home", "a", "a folder")
    check_path("home", Path("a"), "a folder")
    with pytest.raises(OptionError, match=r"backbone is a PosixPath, expected a name") as caught:
        check_text("backbone", Path("a"), "a name", "write it in quotes")
    assert caught.value.hint == "write it in quotes"
    with pytest.raises(OptionError, match="home is 3, expected a folder"):
        check_path("home", 3, "a folder")


def test_sequences_of_numbers_become_tuples_of_floats() -> None:
    for values in ([1, 2.5], (1, 2.5), np.array([1, 2.5]), iter([1, "2.5"])):
        assert checked_numbers("mean", values) == (1.0, 2.5)
    assert checked_numbers("mean", []) == ()
    with pytest.raises(OptionError, match=r"mean is 0\.5, expected a sequence of numbers") as caught:
        checked_numbers("mean", 0.5)
    assert caught.value.hint == "give a tuple: (0.5,)"
    for wrong in ("12", b"12", None, ["a"], [None]):
        with pytest.raises(OptionError, match="expected a sequence of numbers"):
            checked_numbers("mean", wrong)


def test_the_command_line_hears_its_own_spelling() -> None:
    with speaking_options(), pytest.raises(OptionError, match=r"^batch-size is 0, expected") as caught:
        check_count("batch_size", 0)
    assert caught.value.hint == "give another --batch-size"


def test_what_is_long_or_strange_is_told_by_its_type() -> None:
    assert [shown(value) for value in (None, "a", 1.5, (1, 2))] == ["None", "'a'", "1.5", "(1, 2)"]
    assert [shown(value) for value in ("x" * 79, {"a": 1}, Path("a"))] == ["a str", "a dict", "a PosixPath"]
