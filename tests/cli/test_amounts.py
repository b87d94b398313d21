"""Sizes and ages as people type them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.cli.amounts import BYTES, SECONDS, parse_age, parse_bytes
from featx.errors import OptionError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("50GB", 50_000_000_000),
        ("500MB", 500_000_000),
        ("1.5TiB", 3 << 39),
        ("1.5 tib", 3 << 39),
        (" 1kb ", 1000),
        ("1KiB", 1024),
        ("0", 0),
        ("7b", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(("text", "age"), [("12h", 43_200), ("30d", 2_592_000), ("8w", 4_838_400), ("1.5 H", 5400)])
def test_ages(text: str, age: float) -> None:
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e9", "5 XB", "1GBs", "nan", "inf", "1,5GB", "٣GB", "1.GB", "30d"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(OptionError, match="not a size"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "30 days", "5x", "1GB", "9" * 400 + "d"])
def test_no_ages(text: str) -> None:
    with pytest.raises(OptionError, match="not an age"):
        parse_age(text)


@given(st.text())
def test_any_text_is_an_amount_or_an_option_error(text: str) -> None:
    for parse in (parse_bytes, parse_age):
        with suppress(OptionError):
            assert parse(text) >= 0


@given(st.integers(0, 10**9), st.sampled_from(sorted(BYTES)), st.sampled_from(sorted(SECONDS)))
def test_whole_amounts_are_exact(n: int, unit: str, time: str) -> None:
    assert parse_bytes(f"{n}{unit}") == n * BYTES[unit]
    assert parse_age(f"{n}{time}") == n * SECONDS[time]
