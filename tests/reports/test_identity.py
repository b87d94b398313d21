"""What a run's numbers depend on: all of its record but what came out, where, and how fast."""

from __future__ import annotations

from typing import Any

import pytest
from recorded import FIT as BARE_FIT
from recorded import TRAIN as BARE_TRAIN

from featx.core.specs import ExtractConfig
from featx.probes.config import FitConfig
from featx.reports.identity import drawn_by_seed, leaves, recipe_of
from featx.training.config import TrainConfig

HASH = "a1b2c3d4" * 8
FIT = {
    **BARE_FIT,
    "classes": ["cat", "dog"],
    "rows": {"train": 8, "val": 1, "test": 1},
    "fingerprints": {"all": HASH},
    "labels": {"all": HASH},
    "extraction": {"limit": None},
    "command": ["featx", "fit", "cifar10"],
}
TRAIN = {**FIT, **BARE_TRAIN, "command": ["featx", "train", "cifar10", "--mode", "scratch"], "mode": "scratch"}


@pytest.mark.parametrize("record", [FIT, TRAIN])
@pytest.mark.parametrize(
    "change",
    [
        {"accuracy": {"test": 0.1}},
        {"seconds": {"total": 1e9}},
        {"device": "cuda"},
        {"created": "2027-01-01T00:00:00Z"},
        {"seed": 5},  # what differs in it alone is put together
        {"notes": ["a word"]},
        {"versions": {"torch": "9"}},
        {"skipped": [], "missing_classes": {"test": ["cat"]}},
    ],
    ids=str,
)
def test_what_came_out_and_where_is_no_part_of_it(record: dict[str, Any], change: dict[str, Any]) -> None:
    assert recipe_of({**record, **change}) == recipe_of(record)


@pytest.mark.parametrize("record", [FIT, TRAIN])
@pytest.mark.parametrize(
    "change",
    [
        {"class_weight": "balanced"},
        {"source": "digits"},
        {"classes": ["dog", "cat"]},
        {"rows": {"train": 8, "val": 1, "test": 2}},
        {"fingerprints": {"all": "0" * 64}},
        {"labels": {"all": "0" * 64}},
        {"preprocess": {"resize": 64}},
        {"splits": {"train": "train"}},
        {"a field of tomorrow": 1},
    ],
    ids=str,
)
def test_everything_else_is(record: dict[str, Any], change: dict[str, Any]) -> None:
    assert recipe_of({**record, **change}) != recipe_of(record)


def test_what_a_record_lacks_is_what_it_is_by_default() -> None:
    assert recipe_of({**FIT, "standardize": FitConfig.standardize, "max_iter": FitConfig.max_iter}) == recipe_of(FIT)
    assert recipe_of({**FIT, "standardize": not FitConfig.standardize}) != recipe_of(FIT)
    assert recipe_of({**TRAIN, "momentum": TrainConfig.momentum}) == recipe_of(TRAIN)
    assert recipe_of({**TRAIN, "momentum": 0.5}) != recipe_of(TRAIN)
    told = {**FIT, "extraction": {"on_error": "skip", "dtype": ExtractConfig.dtype}}
    assert recipe_of(told) == recipe_of(FIT)


def test_an_option_that_does_nothing_beside_the_others_does_not_count() -> None:
    assert recipe_of({**FIT, "l1_ratio": 0.9}) == recipe_of(FIT)
    assert recipe_of({**FIT, "penalty": "elasticnet", "l1_ratio": 0.9}) != recipe_of({**FIT, "penalty": "elasticnet"})


def test_what_validation_rows_chose_counts_by_what_it_was_chosen_among() -> None:
    swept = {**FIT, "sweep": "clip", "search": {"over": "C", "chosen": 0.1}}
    assert recipe_of({**swept, "C": 9.0}) == recipe_of(swept)
    assert recipe_of({**FIT, "C": 9.0}) != recipe_of(FIT)
    layers = {**FIT, "layers": [{"layer": "a"}, {"layer": "b"}]}
    assert recipe_of({**layers, "layer": "b"}) == recipe_of({**layers, "layer": "a"})
    assert recipe_of({**layers, "layers": [{"layer": "a"}, {"layer": "c"}]}) != recipe_of(layers)
    assert recipe_of({**FIT, "layer": "b"}) != recipe_of(FIT)


def test_of_images_that_a_seed_drew_it_counts_how_many_were_asked_for() -> None:
    drawn = {**FIT, "limit": 5}
    assert recipe_of({**drawn, "fingerprints": {"all": "0" * 64}}) == recipe_of(drawn)
    assert recipe_of({**drawn, "limit": 6}) != recipe_of(drawn)
    for words in (["--limit", "5"], ["--limit=5"], ["--limit", "9", "--limit", "5"]):  # earlier records have only these
        earlier = {**FIT, "command": ["featx", "fit", "cifar10", *words]}
        assert recipe_of(earlier) == recipe_of(drawn)


def test_rows_that_were_skipped_were_asked_for() -> None:
    skipped = {**FIT, "rows": {"train": 7, "val": 1, "test": 1}, "skipped": [{"id": "a"}]}
    assert recipe_of(skipped)["n"] == recipe_of(FIT)["n"] == 10


def test_a_report_shows_hashes_by_their_beginnings_and_alike_numbers_once() -> None:
    shown = leaves({"code": HASH, "preprocess": {"crop": [64, 64], "mean": [0.5, 0.25]}, "splits": {"test": "val"}})
    assert shown == {"code": HASH[:8], "size": 64, "mean": "0.5, 0.25", "test_split": "val"}
    assert len(leaves(recipe_of(FIT))["fingerprints"]) == 8


def test_a_network_is_drawn_by_the_seed_unless_weights_were_named() -> None:
    assert drawn_by_seed(TRAIN)
    for other in (
        {"mode": "finetune"},
        {"command": [*TRAIN["command"], "--weights", "random:1"]},
        {"command": [*TRAIN["command"], "--weights=random:1"]},
        {"command": ["python", "train"]},
        {"command": None},
    ):
        assert not drawn_by_seed({**TRAIN, **other})
