"""Runs that differ in their seed only, as one row."""

from __future__ import annotations

from typing import Any

import pytest
from recorded import FIT, TRAIN, rows
from scipy import stats

from featx.reports.formats import to_columns, to_markdown, values
from featx.reports.over_seeds import over_seeds
from featx.reports.rows import to_text


def seeded(record: dict[str, Any], seed: int, accuracy: float, **changes: Any) -> dict[str, Any]:
    scores = {"train": 1.0, "val": accuracy, "test": accuracy}
    return {**record, "seed": seed, "accuracy": scores, "seconds": {"total": 10.0 * seed}, **changes}


def test_scores_become_means_with_students_interval() -> None:
    scores = [0.8, 0.9, 0.85]
    (row,) = over_seeds(rows(*(seeded(FIT, seed, value) for seed, value in enumerate(scores))))
    assert row["run"] == "3 runs"
    assert row["seed"] == "0, 1, 2"
    assert row["accuracy"]["test"] == pytest.approx(0.85)
    assert row["seconds"]["total"] == pytest.approx(10.0)
    expected = stats.ttest_1samp(scores, 0.0).confidence_interval(0.95)
    assert row["accuracy_interval"]["test"] == pytest.approx([expected.low, expected.high])
    half = (expected.high - expected.low) / 2
    assert f"0.8500 ± {half:.4f}" in to_text([row])
    assert f"0.8500 ± {half:.4f}" in to_markdown([row])


def test_the_other_scores_have_means_and_intervals_too_where_every_run_has_them() -> None:
    scores = {"top5": {"test": None}, "balanced_accuracy": {"test": 0.5}, "macro_f1": {"test": 0.25}}
    told = [seeded(FIT, 0, 0.8, **scores), seeded(FIT, 1, 0.8, **{**scores, "macro_f1": {"test": 0.75}})]
    (row,) = over_seeds(rows(*told))
    assert row["macro_f1"]["test"] == pytest.approx(0.5)
    assert row["macro_f1_interval"]["test"][0] < 0.5 < row["macro_f1_interval"]["test"][1]
    assert row["balanced_accuracy_interval"]["test"] == pytest.approx([0.5, 0.5])
    columns = ["test macro F1", "test top-5", "test balanced accuracy"]
    assert to_columns([row], columns).splitlines()[1].split()[:2] == ["0.5000", "±"]
    assert values([row], columns)[0]["test top-5"] is None
    older = seeded(FIT, 2, 0.8)  # of a featx that did not have them
    for order in ([*told, older], [older, *told]):
        (mixed,) = over_seeds(rows(*order))
        assert mixed["accuracy"]["test"] == pytest.approx(0.8)
        assert values([mixed], columns)[0]["test macro F1"] is None


def test_a_seed_counts_once_by_its_newest_run() -> None:
    (one,) = over_seeds(rows(seeded(FIT, 0, 0.7), seeded(FIT, 0, 0.8)))
    assert one["accuracy"]["test"] == 0.8
    assert "accuracy_interval" not in one
    (two,) = over_seeds(rows(seeded(FIT, 0, 0.7), seeded(FIT, 1, 0.9), seeded(FIT, 0, 0.8)))
    assert (two["run"], two["accuracy"]["test"]) == ("2 runs", pytest.approx(0.85))


def test_what_differs_in_more_than_the_seed_stays_apart() -> None:
    others: list[dict[str, Any]] = [
        {},
        {"layer": "layer3:avg"},
        {"C": 1.0},
        {"images": 10},
        {"weights": "IMAGENET1K_V1"},
    ]
    found = over_seeds(rows(*(seeded(FIT, at, 0.8, **changes) for at, changes in enumerate(others))))
    assert len(found) == len(others)
    options: list[dict[str, Any]] = [
        {},
        {"lr": 0.1},
        {"augment": "flip"},
        {"unfreeze_from": "layer4"},
        {"head": "mlp:9"},
    ]
    found = over_seeds(rows(*(seeded(TRAIN, at, 0.8, **changes) for at, changes in enumerate(options))))
    assert len(found) == len(options)


def test_a_swept_c_is_a_mean_and_a_given_one_tells_runs_apart() -> None:
    swept = [seeded(FIT, seed, 0.8, C=C, sweep="clip") for seed, C in enumerate((0.1, 0.3))]
    (row,) = over_seeds(rows(*swept))
    assert row["C"] == pytest.approx(0.2)
    given = [seeded(FIT, seed, 0.8, C=C) for seed, C in enumerate((0.1, 0.3))]
    assert [row["C"] for row in over_seeds(rows(*given))] == [0.1, 0.3]


def test_networks_from_scratch_are_drawn_by_the_seed() -> None:
    scratch = [seeded(TRAIN, s, 0.8, mode="scratch", weights=f"random:{s}") for s in range(2)]
    (row,) = over_seeds(rows(*scratch))
    assert row["weights"] == "random, one per seed"
    frozen = [seeded(TRAIN, s, 0.8, mode="frozen", weights=f"random:{s}") for s in range(2)]
    assert len(over_seeds(rows(*frozen))) == 2


def test_a_network_that_was_named_is_shared_even_by_the_seed_that_would_have_drawn_it() -> None:
    def scratch(seed: int, drawn: int, *more: str) -> dict[str, Any]:
        command = {"command": ["featx", "train", "cifar10", *more]} if more else {}
        return seeded(TRAIN, seed, 0.8, mode="scratch", weights=f"random:{drawn}", **command)

    named = [scratch(seed, 1, "--weights=random:1") for seed in range(3)]
    by_seed = [scratch(seed, seed, "--epochs", "10") for seed in range(3)]
    assert [row["seed"] for row in over_seeds(rows(*named))] == ["0, 1, 2"]
    assert [row["seed"] for row in over_seeds(rows(*named, *by_seed))] == ["0, 1, 2", "0, 1, 2"]
    # Where no command tells, the seed's own network goes with those that it can be told to share.
    assert [row["seed"] for row in over_seeds(rows(*(scratch(seed, 1) for seed in range(3))))] == ["0, 1, 2"]
    assert [row["seed"] for row in over_seeds(rows(scratch(0, 0, "--weights", "random:0"), *by_seed[1:]))] == [
        "0, 1, 2"
    ]
    others = [{**row, "lr": 9.0} for row in named[::2]]
    assert [row["seed"] for row in over_seeds(rows(*by_seed, *others))] == ["0, 1, 2", "0, 2"]


def test_fits_on_networks_that_differ_in_their_seed_only_go_together() -> None:
    trained = rows(seeded(TRAIN, 0, 0.8), seeded(TRAIN, 1, 0.9), seeded(TRAIN, 1, 0.9, lr=9.0))
    fits = rows(*[FIT] * 6)[3:]
    for fit, train, seed in zip(fits, trained, (0, 1, 1), strict=True):
        fit |= {"backbone": "resnet18", "weights": f"run:{train['run']}", "seed": seed}
    first, second, fit, other = over_seeds([*trained, *fits])
    assert [row["run"] for row in (first, fit)] == ["2 runs", "2 runs"]
    assert fit["weights"] == "run, one per seed"
    assert second["lr"] == 9.0
    assert other["weights"] == f"run:{trained[2]['run']}"


def test_order_is_that_of_the_first_of_each() -> None:
    found = over_seeds(rows(seeded(TRAIN, 0, 0.8), seeded(FIT, 0, 0.8), seeded(TRAIN, 1, 0.8)))
    assert [row["kind"] for row in found] == ["train", "fit"]


def test_runs_that_stand_on_themselves_or_on_each_other_are_rows_like_others() -> None:
    found = rows(FIT, FIT)
    for row, other in zip(found, reversed(found), strict=True):
        row["weights"] = f"run:{other['run']}"
    assert len(over_seeds(found)) == 2


def test_a_run_without_scores_is_left_without() -> None:
    (row,) = over_seeds(rows({**FIT, "accuracy": None, "seed": 0}, {**FIT, "accuracy": None, "seed": 1}))
    assert row["accuracy"] is None


def test_networks_that_saw_images_of_other_sizes_stay_apart() -> None:
    found = over_seeds(rows(*(seeded(TRAIN, 0, 0.8, preprocess={"crop": px}) for px in (32, 64))))
    assert [row["size"] for row in found] == [32, 64]
    assert "size=64" in to_text(found)
