"""Which of a table's differences are beyond chance, and what is said of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from predicting import Array, predicting
from scipy import stats
from statsmodels.stats.multitest import multipletests

from featx.core.run_folder import Run
from featx.reports.beyond_chance import compared
from featx.reports.difference_table import DifferenceTable
from featx.reports.row_scores import ROW_SCORES

N = 400
Rows = list[dict[str, Any]]
DRAWS = 500


def table(home: Path, *right: Array, **more: Any) -> tuple[Rows, dict[str, Run]]:
    pairs = [predicting(home, one, **more) for one in right]
    return [row for row, _ in pairs], {run.id: run for _, run in pairs}


def some_right(shares: list[float]) -> list[Array]:
    rng = np.random.default_rng(0)
    hard = rng.random(N)
    return [hard + 0.1 * rng.standard_normal(N) < share for share in shares]


def test_every_pair_is_tested_by_mcnemar_and_adjusted_by_holm(tmp_path: Path) -> None:
    right = some_right([0.7, 0.9, 0.72, 0.5])
    rows, runs = table(tmp_path, *right)
    found = compared(rows, runs, draws=DRAWS)
    assert [(pair.first, pair.second) for pair in found.pairs][:3] == [(1, 2), (1, 0), (1, 3)]
    expected = []
    for pair in found.pairs:
        one, two = right[pair.first], right[pair.second]
        b, c = int((one & ~two).sum()), int((two & ~one).sum())
        expected.append(stats.binomtest(b, b + c).pvalue)
        assert pair.value == pytest.approx((b - c) / N)
        assert pair.over_images is not None
        assert pair.over_images[0] < pair.value < pair.over_images[1]
        assert (pair.test, pair.covers) == ("exact McNemar", ("test images",))
    np.testing.assert_allclose([pair.p for pair in found.pairs], expected, rtol=1e-9)
    np.testing.assert_allclose([pair.p_holm for pair in found.pairs], multipletests(expected, method="holm")[1])
    assert [pair.is_clear for pair in found.pairs] == [True, True, True, False, True, True]


def test_the_order_of_the_images_does_not_matter(tmp_path: Path) -> None:
    one, two = some_right([0.7, 0.8])
    rows, runs = table(tmp_path, one, two)
    mixed, run = predicting(tmp_path, two, order=np.random.default_rng(1).permutation(N))
    again = compared([rows[0], mixed], {**runs, run.id: run}, draws=DRAWS)
    expected = compared(rows, runs, draws=DRAWS)
    assert [pair.p for pair in again.pairs] == [pair.p for pair in expected.pairs]
    # The draws are other ones.
    assert again.pairs[0].over_images == pytest.approx(expected.pairs[0].over_images, abs=0.01)


def test_rows_of_other_images_are_not_compared_and_that_is_said(tmp_path: Path) -> None:
    one, two, three = some_right([0.5, 0.7, 0.9])
    rows, runs = table(tmp_path, one, two)
    other, run = predicting(tmp_path, three, first=200)  # half of its images are the others'
    found = compared([*rows, other], {**runs, run.id: run}, draws=DRAWS)
    assert [(pair.first, pair.second) for pair in found.pairs] == [(1, 0)]
    assert found.apart == 2
    claimed = {**other, "scored_on": rows[0]["scored_on"]}  # a record that says what is not so
    found = compared([*rows, claimed], {**runs, run.id: run}, draws=DRAWS)
    assert not found.pairs
    assert found.untold == ("its predictions, or those of some seed, are of other images than the best row's (2 rows)",)


def test_a_run_without_predictions_is_named_as_the_reason(tmp_path: Path) -> None:
    rows, runs = table(tmp_path, *some_right([0.5, 0.7, 0.9]))
    (runs[rows[2]["run"]].path / "predictions.safetensors").unlink()
    found = compared(rows, runs, draws=DRAWS)
    assert [(pair.first, pair.second) for pair in found.pairs] == [(1, 0)]
    assert "kept no predictions" in found.untold[0]
    assert any("kept no predictions" in line for line in DifferenceTable(rows, found).lines())


def test_of_several_seeds_both_chances_count(tmp_path: Path) -> None:
    """One row is far better on these images with any seed; another only with two of three."""
    rng = np.random.default_rng(2)
    seeds: dict[str, list[tuple[dict[str, Any], Run]]] = {}
    for name, shares in {"base": [0.6, 0.6, 0.6], "better": [0.8, 0.79, 0.81], "odd": [0.9, 0.9, 0.45]}.items():
        seeds[name] = [predicting(tmp_path, rng.random(N) < share, seed=i) for i, share in enumerate(shares)]
    rows, runs = [], {}
    for parts in seeds.values():
        scores = [row["accuracy"]["test"] for row, _ in parts]
        by_seed = {str(i): score for i, score in enumerate(scores)}
        names = [run.id for _, run in parts]
        rows.append(
            {**parts[0][0], "runs": names, "test_by_seed": by_seed, "accuracy": {"test": float(np.mean(scores))}}
        )
        runs |= {run.id: run for _, run in parts}
    found = {(pair.first, pair.second): pair for pair in compared(rows, runs, draws=DRAWS).pairs}
    better, odd = found[1, 0], found[2, 0]
    assert better.covers == odd.covers == ("test images", "seeds")
    assert better.test == "sign flips, Student's t"
    assert better.is_clear
    assert not odd.is_clear
    values = [list(row["test_by_seed"].values()) for row in rows]
    assert odd.p == pytest.approx(stats.ttest_rel(values[2], values[0]).pvalue)
    assert odd.over_images is not None
    assert odd.over_seeds is not None
    assert odd.over_images[0] > 0 > odd.over_seeds[0]


@pytest.mark.parametrize("score", ["loss", "macro_f1", "balanced_accuracy"])
def test_other_scores_are_compared_too(tmp_path: Path, score: str) -> None:
    rng = np.random.default_rng(3)
    losses = rng.exponential(size=N)
    one, two = some_right([0.7, 0.9])
    pairs = [predicting(tmp_path, one, losses=losses), predicting(tmp_path, two, losses=losses * 0.8)]
    rows, runs = [row for row, _ in pairs], {run.id: run for _, run in pairs}
    (pair,) = compared(rows, runs, score, draws=DRAWS).pairs
    assert (pair.first, pair.second) == (1, 0)  # the better first, which is the smaller loss
    assert pair.is_clear
    assert pair.over_images is not None
    assert pair.over_images[0] < pair.value < pair.over_images[1]


def test_chance_alone_is_called_clear_in_few_tables(tmp_path: Path) -> None:
    """Of 15 tables of four equally good rows, whose six pairs are tested together."""
    rng = np.random.default_rng(4)
    false = 0
    for at in range(15):
        rows, runs = table(tmp_path / str(at), *(rng.random(100) < 0.8 for _ in range(4)))
        false += any(pair.is_clear for pair in compared(rows, runs, draws=0).pairs)
    assert false <= 3  # at most 0.75 are expected; more than 3 have a chance of 0.006


def test_scores_by_row_are_those_of_the_columns() -> None:
    from featx.reports.columns import BY_ROW

    assert [*ROW_SCORES] == [*BY_ROW]
