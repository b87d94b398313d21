"""What is doubtful about a table's rows: each check says so where it is, and is silent where it is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from recorded import FIT, TRAIN, Recorded

from featx.reports.check import Check, check_lines, check_text, marked
from featx.reports.checks import CHECKS, checks_of, groups_of
from featx.reports.formats import FORMATS
from featx.reports.over_seeds import over_seeds
from featx.reports.rows import rows_of

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reports.md"
HOSTILE = "<script>\x1b[31m\n| `$(rm)` \\input{x} \u202e"


def runs_of(*records: dict[str, Any]) -> list[Recorded]:
    return [Recorded(f"20260102-03040{i}-{r.get('kind', 'fit')}-a1b{i}", r) for i, r in enumerate(records)]


def checked(*records: dict[str, Any]) -> dict[str, Check]:
    runs = runs_of(*records)
    return {check.code: check for check in checks_of(rows_of(runs), runs)}


def confusion(*counts: int, right: float = 0.9) -> list[list[int]]:
    """Return a matrix of classes with so many rows; what is wrong is taken for the next class."""
    k = len(counts)
    matrix = [[0] * k for _ in counts]
    for i, n in enumerate(counts):
        matrix[i][i] = round(right * n)
        matrix[i][(i + 1) % k] += n - matrix[i][i]
    return matrix


def scored(test: float, **fields: Any) -> dict[str, Any]:
    """Return the record of a fit with so good a test accuracy, nothing else being wrong with it."""
    accuracy = {"train": test, "val": test, "test": test}
    return {**FIT, "rows": {"test": 10_000}, **fields, "accuracy": accuracy}


FAR = {"train": 0.99, "val": 0.5, "test": 0.5}
SEARCH = {"over": "C", "values": [0.01, 0.1, 1.0], "chosen": 1.0}
HISTORY = [{"epoch": e, "val_accuracy": 0.1 * e} for e in (1, 2, 3)]

DOUBTFUL: dict[str, dict[str, Any]] = {
    "C-at-edge": {**FIT, "search": SEARCH},
    "no-proof": {**FIT, "converged": False, "objective_gap": 1e-3},
    "below-majority": {**FIT, "confusion": {"test": confusion(900, 100)}, "accuracy": {"test": 0.85}},
    "few-test-images": {**FIT, "confusion": {"test": confusion(9, 100)}, "classes": ["cat", "dog"]},
    "overfits": {**FIT, "accuracy": FAR},
    "still-improving": {**TRAIN, "history": HISTORY, "best_epoch": 3},
    "leaked-rows": {**FIT, "shared_with_test": 3},
}
FINE: dict[str, dict[str, Any]] = {
    "C-at-edge": {**FIT, "search": {**SEARCH, "chosen": 0.1}},
    "no-proof": {**FIT, "converged": True, "objective_gap": 1e-9},
    "below-majority": {**FIT, "confusion": {"test": confusion(900, 100)}, "accuracy": {"test": 0.91}},
    "few-test-images": {**FIT, "confusion": {"test": confusion(10, 100)}, "classes": ["cat", "dog"]},
    "overfits": {**FIT, "accuracy": {"train": 0.99, "val": 0.9, "test": 0.5}},
    "still-improving": {**TRAIN, "history": HISTORY, "best_epoch": 2},
    "leaked-rows": {**FIT, "shared_with_test": 0},
}


@pytest.mark.parametrize("code", list(DOUBTFUL))
def test_what_is_doubtful_is_told_with_a_remedy_and_what_is_fine_is_not(code: str) -> None:
    found = checked(FINE[code], DOUBTFUL[code])
    assert found[code].rows == (1,)
    assert "20260102-030401" in found[code].says
    assert "20260102-030400" not in found[code].says
    assert "-" in found[code].remedy
    assert code not in checked(FINE[code])


def test_runs_without_anything_doubtful_have_no_checks() -> None:
    assert checked(FIT, {**TRAIN, "rows": {}}) == {}
    assert checks_of([], []) == []


def test_a_fit_without_a_bound_has_no_proof_and_a_head_without_steps_needs_none() -> None:
    assert "no bound" in checked({**FIT, "converged": True, "objective_gap": None})["no-proof"].says
    assert "no-proof" not in checked({**FIT, "head": "knn", "converged": None, "objective_gap": None})


def test_both_edges_of_a_grid_count_and_the_neighbours_of_a_vote_do_not() -> None:
    assert "C=0.01 of 0.01 to 1" in checked({**FIT, "search": {**SEARCH, "chosen": 0.01}})["C-at-edge"].says
    assert "C-at-edge" not in checked({**FIT, "search": {**SEARCH, "over": "k"}})


def test_a_training_without_validation_rows_is_not_said_to_improve() -> None:
    assert checked({**TRAIN, "history": [{"epoch": 1}], "best_epoch": 1}) == {}


def test_that_one_seed_of_three_was_best_at_its_end_is_chance() -> None:
    def over(*best: int) -> set[str]:
        runs = runs_of(*({**TRAIN, "history": HISTORY, "best_epoch": e, "seed": i} for i, e in enumerate(best)))
        return {check.code for check in checks_of(over_seeds(rows_of(runs)), runs)}

    assert "still-improving" not in over(3, 2, 1)
    assert "still-improving" in over(3, 3, 1)


def test_worse_than_raw_pixels_is_told_of_rows_with_the_same_test_images_only() -> None:
    pixels = scored(0.5, backbone="pixels", layer="pixels")
    found = checked(pixels, scored(0.4), scored(0.6), scored(0.3, source="other"))
    assert found["below-pixels"].rows == (1,)
    assert "0.4000 against 0.5000" in found["below-pixels"].says


def test_naming_one_class_always_is_no_better_than_that() -> None:
    collapsed = {**FIT, "confusion": {"test": confusion(900, 100)}, "accuracy": {"test": 0.9}}
    assert "below-majority" in checked(collapsed)


def test_what_so_few_images_may_show_by_chance_is_no_claim() -> None:
    pixels = scored(0.986, backbone="pixels", layer="pixels", rows={"test": 179})
    assert "below-pixels" not in checked(pixels, scored(0.983, rows={"test": 179}))
    assert checked(pixels, scored(0.80, rows={"test": 179}))["below-pixels"].rows == (1,)
    few, many = ({**FIT, "accuracy": FAR, "rows": {"val": n}} for n in (2, 200))
    assert "overfits" not in checked(few)
    assert "overfits" in checked(many)


def test_a_difference_within_its_interval_is_no_claim() -> None:
    close, clear = [scored(0.80, C=1.0), scored(0.801)], [scored(0.80, C=1.0), scored(0.85)]
    found = checked(scored(0.5, C=9.0), *close)["interval-too-wide"]
    assert set(found.rows) == {1, 2}
    assert "+0.0010" in found.says
    assert "interval-too-wide" not in checked(*clear)
    assert "interval-too-wide" not in checked(scored(0.8))


def test_seeds_of_one_and_the_same_fit_are_one_row_of_a_ranking() -> None:
    seeds = [scored(0.9 + 0.001 * i, seed=i) for i in range(3)]
    assert "interval-too-wide" not in checked(*seeds)
    other = [scored(0.7 + 0.001 * i, seed=i, C=1.0) for i in range(3)]
    assert "interval-too-wide" not in checked(*seeds, *other)
    near = [scored(0.9 + 0.002 * ((i + 1) % 3), seed=i, C=1.0) for i in range(3)]
    assert set(checked(*seeds, *near)["interval-too-wide"].rows) == {0, 1, 2, 3, 4, 5}


SPLITS = {"train": "train", "val": "train", "test": "test"}
PRINTS = {"train": "a" * 64, "test": "b" * 64}


def from_files(**fields: Any) -> dict[str, Any]:
    return {**FIT, "splits": SPLITS, "fingerprints": PRINTS, "rows": {"test": 100}, **fields}


def test_rows_with_other_test_images_are_marked_and_in_a_group_of_their_own() -> None:
    other = from_files(fingerprints={**PRINTS, "test": "c" * 64})
    runs = runs_of(from_files(), from_files(C=1.0, source="/elsewhere/cifar10.zip", seed=3), other)
    rows = rows_of(runs)
    assert [[row["run"] for row in group] for group in groups_of(rows, runs)] == [
        [rows[0]["run"], rows[1]["run"]],
        [rows[2]["run"]],
    ]
    (check,) = [check for check in checks_of(rows, runs) if check.code == "not-comparable"]
    assert check.rows == (2,)
    assert [row.get("mark") for row in marked(rows, [check])] == [None, None, "*"]
    assert [line.count("0.8700*") for line in FORMATS["text"].runs(rows, None, [check]).splitlines()].count(1) == 1
    assert r"0.8700\*" in FORMATS["md"].runs(rows, None, [check])
    assert "0.8700*" in FORMATS["latex"].runs(rows, None, [check])
    assert "0.8700*" not in FORMATS["csv"].runs(rows, None, [check])


def test_test_rows_that_a_seed_held_out_are_those_of_that_seed() -> None:
    drawn = {"splits": dict.fromkeys(SPLITS, "all"), "fingerprints": {"all": "a" * 64}}
    runs = runs_of(*(from_files(**drawn, C=C, seed=seed) for C in (0.1, 1.0) for seed in (0, 1)))
    assert [len(group) for group in groups_of(rows_of(runs), runs)] == [2, 2]
    rows = over_seeds(rows_of(runs))
    assert [len(group) for group in groups_of(rows, runs)] == [2]
    assert "not-comparable" not in {check.code for check in checks_of(rows, runs)}


def test_other_sizes_are_noted_but_for_raw_pixels() -> None:
    small, large = ({**FIT, "preprocess": {"crop": px}} for px in (32, 64))
    assert checked(small, large)["other-sizes"].rows == (0, 1)
    assert "other-sizes" not in checked(small, {**large, "backbone": "pixels"})
    assert "other-sizes" not in checked(small, {**large, "source": "other"})


def test_of_several_seeds_those_are_counted_that_it_is_true_of() -> None:
    runs = runs_of(*({**FIT, "seed": i, "shared_with_test": i} for i in range(3)))
    rows = over_seeds(rows_of(runs))
    (check,) = checks_of(rows, runs)
    assert check.rows == (0,)
    assert "2 of 3 runs" in check.says
    named = checks_of([{**rows[0], "name": "softmax on pixels"}], runs)[0]
    assert "softmax on pixels (1, 2 of 3 runs)" in named.says


def test_many_rows_are_one_line_that_counts_them() -> None:
    runs = runs_of(*({**FIT, "C": 1.0 + i, "shared_with_test": 1 + i} for i in range(9)))
    (check,) = checks_of(rows_of(runs), runs)
    assert check.rows == tuple(range(9))
    assert check.says.endswith("and 6 more")
    (same,) = checked(*({**FIT, "C": 1.0 + i, "shared_with_test": 1} for i in range(9))).values()
    assert same.says.endswith(": all 9 rows (1)")


ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**400,
    float("nan"),
    HOSTILE,
    [],
    [None],
    [[1], [2, 3]],
    {},
    {"test": HOSTILE},
)
FIELDS = (
    *("search", "converged", "objective_gap", "accuracy", "confusion", "classes", "history", "best_epoch", "kind"),
    *("shared_with_test", "rows", "splits", "fingerprints", "labels", "preprocess", "seed", "run", "backbone"),
)


@pytest.mark.parametrize("field", FIELDS)
def test_damaged_and_hostile_records_do_no_harm(field: str) -> None:
    base = {**FIT, **{name: value for record in DOUBTFUL.values() for name, value in record.items()}}
    for odd in ODD:
        runs = runs_of(base, {**base, field: odd}, {**base, "C": 3.0, field: {"test": odd, "over": "C", "chosen": odd}})
        rows = rows_of(runs)
        for check in checks_of(rows, runs):
            assert check_text(check).isprintable()
            assert set(check.rows) <= {0, 1, 2}


def test_names_of_strangers_are_escaped_in_documents() -> None:
    runs = runs_of({**DOUBTFUL["few-test-images"], "classes": [HOSTILE, "dog"]})
    rows = rows_of(runs)
    checks = checks_of(rows, runs)
    assert "<script>" not in FORMATS["md"].runs(rows, None, checks)
    assert r"\input" not in FORMATS["latex"].runs(rows, None, checks).replace(r"\textbackslash{}", "")
    assert "\x1b" not in FORMATS["text"].runs(rows, None, checks)
    wide = runs_of({**DOUBTFUL["few-test-images"], "classes": ["\\" * 40, "dog"]})
    below = FORMATS["latex"].runs(rows_of(wide), None, checks_of(rows_of(wide), wide))
    assert r"\textbackslash{}" * 40 in below  # not cut where a line ends


def test_lines_fit_a_page_and_columns_that_are_asked_for_are_all_that_is_shown() -> None:
    runs = runs_of(*DOUBTFUL.values())
    rows = rows_of(runs)
    checks = checks_of(rows, runs)
    assert len(checks) >= len(DOUBTFUL)
    assert max(map(len, check_lines(checks))) <= 80
    for style in ("text", "md", "latex"):
        text = FORMATS[style].runs(rows, None, checks)
        assert all(check.code in text for check in checks), style
        assert "overfits" not in FORMATS[style].runs(rows, ["layer"], checks)
    assert r"\mbox{-{}-sweep}" in FORMATS["latex"].runs(rows, None, checks)
    assert FORMATS["csv"].runs(rows, None, checks) == FORMATS["csv"].runs(rows, None)


def test_the_documentation_lists_every_code() -> None:
    listed = re.findall(r"^\| `([A-Za-z-]+)` \|", DOCS.read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(CHECKS)
