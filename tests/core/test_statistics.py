"""Means with intervals, and paired tests, against figures worked out elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from featx.core.statistics import mcnemar, summary, wilson_interval


def test_interval_of_three_runs() -> None:
    found = summary([0.8573, 0.8600, 0.8611])
    assert found["mean"] == pytest.approx(0.859467, abs=1e-6)
    assert found["std"] == pytest.approx(0.001955, abs=1e-6)
    half = 4.302653 * 0.001955335 / 3**0.5  # Student's t with 2 degrees of freedom
    assert found["interval"] == pytest.approx([0.859467 - half, 0.859467 + half], abs=1e-6)


def test_one_value_has_no_interval() -> None:
    assert summary([0.5]) == {"n": 1, "mean": 0.5, "std": None, "interval": None}


def test_coverage_of_the_interval_is_what_it_says() -> None:
    random = np.random.default_rng(0)
    hits = [
        low <= 3.0 <= high for low, high in (summary(random.normal(3, 2, 3).tolist())["interval"] for _ in range(2000))
    ]
    assert 0.935 < np.mean(hits) < 0.965


def pair(b: int, c: int, both: int = 5) -> tuple[list[bool], list[bool]]:
    return [True] * b + [False] * c + [True] * both, [False] * b + [True] * c + [True] * both


@pytest.mark.parametrize(
    ("b", "c", "exact", "mid"),
    [
        (1, 7, 18 / 256, 18 / 256 - 8 / 256),  # 2 * (C(8,0) + C(8,1)) / 2^8; mid-p takes one C(8,1) off
        (0, 5, 2 / 32, 1 / 32),
        (4, 4, 1.0, 1 - 70 / 256 / 2),  # half of C(8,4), which is one outcome and not two
        (0, 0, 1.0, 1.0),
    ],
)
def test_mcnemar(b: int, c: int, exact: float, mid: float) -> None:
    found = mcnemar(*pair(b, c))
    assert (found["only_first"], found["only_second"], found["n"]) == (b, c, b + c + 5)
    assert found["p_exact"] == pytest.approx(exact)
    assert found["p_mid"] == pytest.approx(mid)


@given(st.integers(0, 40), st.integers(0, 40))
def test_order_does_not_matter_and_p_is_a_probability(b: int, c: int) -> None:
    one, other = mcnemar(*pair(b, c)), mcnemar(*pair(c, b))
    for name in ("p_exact", "p_mid"):
        assert one[name] == pytest.approx(other[name])
        assert 0 < one[name] <= 1
    assert one["p_mid"] <= one["p_exact"]


def test_results_of_other_length_are_refused() -> None:
    with pytest.raises(ValueError, match="same length"):
        mcnemar([True], [True, False])


@pytest.mark.parametrize("n", [1, 2, 10, 263, 100_000])
def test_wilsons_interval_is_scipys(n: int) -> None:
    for seen in {0, 1, n // 3, n - 1, n}:
        expected = stats.binomtest(seen, n).proportion_ci(0.95, "wilson")
        assert wilson_interval(seen / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
