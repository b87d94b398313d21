"""Beginnings of digests and ids open tables and runs in Python as they do in the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from programs import store_features

from featx import FeatureStore, Runs
from featx.core.paths import home_folder
from featx.errors import OptionError


@pytest.fixture
def digests() -> list[str]:
    return [store_features(home_folder(), f"layer{i}") for i in range(20)]


def test_a_unique_beginning_opens_the_table(digests: list[str]) -> None:
    store = FeatureStore()
    for digest in digests:
        table = store.open(digest[:12])
        assert np.array_equal(table.X, store.open(digest).X)
        assert table.key["layer"] == f"layer{digests.index(digest)}"


def test_everything_that_takes_a_digest_takes_its_beginning(digests: list[str]) -> None:
    store, digest = FeatureStore(), digests[3]
    assert store.folder(digest[:10]) == store.folder(digest)
    assert store.is_complete(digest[:10])
    plan = store.plan(digest[:10])
    assert plan is not None
    assert plan.columns == 4
    assert store.remove(digest[:10]) > 0
    assert not store.folder(digest).exists()


def test_an_ambiguous_beginning_is_an_error_that_lists_them(digests: list[str]) -> None:
    begin = next(digit for digit in "0123456789abcdef" if sum(d.startswith(digit) for d in digests) > 1)
    meant = [digest for digest in digests if digest.startswith(begin)]
    for act in (FeatureStore().open, FeatureStore().remove):
        with pytest.raises(OptionError) as caught:
            act(begin)
        assert all(digest[:16] in caught.value.message for digest in meant)
    assert all(FeatureStore().folder(digest).exists() for digest in digests)


@pytest.mark.parametrize("wrong", ["", "zz", "../..", "f" * 63, "\0", "73e9/.."])
def test_what_begins_no_digest_is_an_error_with_a_hint(digests: list[str], wrong: str) -> None:
    with pytest.raises(OptionError, match="no features") as caught:
        FeatureStore().open(wrong)
    assert caught.value.hint


def test_runs_open_by_their_beginning_and_list_those_that_it_may_mean(tmp_path: Path) -> None:
    runs = Runs()
    found = [runs.new("fit", []) for _ in range(3)]
    for run in found:
        run.write({})
    kept = min(run.id for run in found)
    shared = len(kept) - 4
    assert runs.open(kept).id == kept
    with pytest.raises(OptionError) as caught:
        runs.open(kept[:8])
    assert all(run.id in caught.value.message for run in found)
    unique = next(
        (kept[:n] for n in range(shared, len(kept)) if sum(r.id.startswith(kept[:n]) for r in found) == 1), kept
    )
    assert runs.open(unique).id == kept
