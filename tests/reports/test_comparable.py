"""Which rows may be ranked together."""

from __future__ import annotations

from typing import Any

from recorded import FIT, rows

from featx.reports.comparable import comparable, scored_on
from featx.reports.over_seeds import over_seeds

OWN: dict[str, Any] = {
    **FIT,
    "splits": {"train": "train", "val": "train", "test": "test"},
    "fingerprints": {"train": "a" * 64, "test": "b" * 64},
    "labels": {"train": "c" * 64, "test": "d" * 64},
    "rows": {"train": 100, "val": 10, "test": 50},
    "classes": ["cat", "dog"],
}
HELD_OUT: dict[str, Any] = {
    **OWN,
    "splits": {"train": "all", "val": "all", "test": "all"},
    "fingerprints": {"all": "a" * 64},
    "labels": {"all": "c" * 64},
}


def test_a_test_split_is_the_same_whatever_was_learnt_from_and_whichever_seed() -> None:
    others: list[dict[str, Any]] = [
        {"seed": 7},
        {"source": "/moved/cifar10"},
        {"fingerprints": {"train": "z" * 64, "test": "b" * 64}},
        {"splits": {"train": "other", "val": "other", "test": "test"}},
        {"rows": {"train": 5, "val": 1, "test": 50}},
    ]
    assert {scored_on({**OWN, **changes}) for changes in others} == {scored_on(OWN)}


def test_other_images_labels_classes_or_fewer_rows_are_another_set() -> None:
    others: list[dict[str, Any]] = [
        {"fingerprints": {"train": "a" * 64, "test": "z" * 64}},
        {"labels": {"train": "c" * 64, "test": "z" * 64}},
        {"classes": ["cat", "cow"]},
        {"rows": {"train": 100, "val": 10, "test": 49}},
        {"fingerprints": None},
    ]
    assert len({scored_on({**OWN, **changes}) for changes in [{}, *others]}) == 6


def test_the_seed_counts_where_it_holds_the_test_rows_out() -> None:
    assert scored_on({**HELD_OUT, "seed": 1}) != scored_on(HELD_OUT)


def test_rows_over_the_same_seeds_belong_together_in_whatever_order_they_were_run() -> None:
    seeded = [
        {**HELD_OUT, "seed": seed, "C": C}
        for C, seeds in ((1.0, (0, 1)), (0.1, (1, 0)), (9.0, (0, 2)))
        for seed in seeds
    ]
    assert comparable(over_seeds(rows(*seeded))) == [[0, 1], [2]]


def test_what_a_stranger_wrote_is_a_set_of_its_own() -> None:
    for odd in (
        {"splits": 3},
        {"splits": {"test": ["a"]}},
        {"fingerprints": [1]},
        {"rows": "x"},
        {"seed": float("nan")},
    ):
        assert scored_on({**HELD_OUT, **odd}) != scored_on(OWN)
