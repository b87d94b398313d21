"""Rows that are not computed: equal ones of one key, and those that a sibling has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_samples import ABOUT, Sample

from featx.cache.schema import fingerprint
from featx.cache.store import FeatureStore, FeatureWriter
from featx.errors import CorruptStoreError


def rows_of(whole: Sample, rows: Any, **changes: Any) -> Sample:
    """Return the sample whose images are some rows of another one, in another order perhaps, or twice."""
    part = replace(whole, n=len(rows), **changes)
    part.X, part.hashes = whole.X[rows], whole.hashes[rows]
    part.ids = [f"again/{at}.png" for at in range(part.n)]
    part.key = replace(whole.key, rows=fingerprint(part.hashes), n_rows=part.n, layer=part.layer)
    return part


def writer_of(sample: Sample, store: FeatureStore) -> FeatureWriter:
    reusable = store.reuse_index().reusable(sample.key, sample.hashes)
    return store.writer(sample.key, sample.plan, sample.ids, sample.hashes, ABOUT, reusable)


def fill(sample: Sample, store: FeatureStore) -> int:
    """Put what is due, as the rows' own values, and return how many rows that were."""
    with writer_of(sample, store) as out:
        due = out.due()
        sample.fill(out)
    assert np.array_equal(store.open(sample.key).X, sample.X)
    return len(due)


@pytest.mark.parametrize("shard_rows", [1, 2, 4, 16])
def test_a_duplicate_is_put_once(tmp_path: Path, shard_rows: int) -> None:
    sample = rows_of(Sample(shard_rows=shard_rows), [0, 1, 0, 2, 9, 9, 1, 3, 0, 9])
    assert fill(sample, FeatureStore(tmp_path)) == 5


def test_a_duplicate_of_a_bad_image_is_bad_under_its_own_name(tmp_path: Path) -> None:
    sample = rows_of(Sample(), [0, 1, 2, 1, 4, 5, 1])
    sample.skipped = {1: f"image {sample.ids[1]} is empty"}
    store = FeatureStore(tmp_path)
    sample.fill(writer_of(sample, store))
    table = store.open(sample.key)
    assert [(row, why) for row, _, why in table.skipped] == [
        (row, f"image again/{row}.png is empty") for row in (1, 3, 6)
    ]
    assert np.array_equal(table.X, sample.X[[0, 2, 4, 5]])


def test_a_grown_data_set_computes_what_is_new(tmp_path: Path) -> None:
    whole, store = Sample(30), FeatureStore(tmp_path)
    assert fill(rows_of(whole, range(20)), store) == 20
    assert fill(rows_of(whole, [*range(25, 30), *range(20)]), store) == 5
    assert fill(rows_of(whole, range(0, 30, 3)), store) == 2  # rows 21 and 24
    assert fill(whole, store) == 3


def test_a_part_of_the_whole_computes_nothing(tmp_path: Path) -> None:
    whole, store = Sample(30), FeatureStore(tmp_path)
    fill(whole, store)
    part = rows_of(whole, [3, 29, 17, 3, 0])
    out = writer_of(part, store)
    assert all(map(out.claim, out.blocks()))
    assert store.is_complete(part.key)


@pytest.mark.parametrize(
    "change", [{"layer": "fc2"}, {"dtype": "float16"}], ids=["another layer", "another stored dtype"]
)
def test_another_layer_or_dtype_lends_nothing(tmp_path: Path, change: dict[str, Any]) -> None:
    whole, store = Sample(10), FeatureStore(tmp_path)
    fill(whole, store)
    assert fill(Sample(10, **change), store) == 10


def test_an_unfinished_key_lends_its_finished_shards(tmp_path: Path) -> None:
    whole, store = Sample(12), FeatureStore(tmp_path)
    with writer_of(whole, store) as out:
        assert out.claim(1)
        whole.put(out, range(4, 8))
    assert fill(rows_of(whole, range(2, 10)), store) == 4


def test_bad_rows_are_not_lent(tmp_path: Path) -> None:
    whole, store = Sample(10), FeatureStore(tmp_path)
    whole.skipped = {4: "torn"}
    whole.fill(writer_of(whole, store))
    assert fill(rows_of(whole, range(2, 8)), store) == 1


def test_what_is_lent_is_checked(tmp_path: Path) -> None:
    whole, store = Sample(10), FeatureStore(tmp_path)
    whole.stored(tmp_path)
    shard = sorted((store.folder(whole.key) / "shards").glob("*.h5"))[0]
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    part = rows_of(whole, range(5))
    with writer_of(part, store) as out, pytest.raises(CorruptStoreError, match=shard.name):
        list(map(out.claim, out.blocks()))
    assert not store.is_complete(part.key)


def test_what_a_lender_has_no_more_is_computed(tmp_path: Path) -> None:
    whole, store = Sample(10), FeatureStore(tmp_path)
    fill(rows_of(whole, range(8)), store)
    writer_of(whole, store).close()  # begun: rows 8 and 9 are to be computed
    assert writer_of(whole, store).due().tolist() == [8, 9]
    store.remove(rows_of(whole, range(8)).key.digest)
    assert fill(whole, store) == 10


def test_a_resumed_run_borrows_as_the_first_did(tmp_path: Path) -> None:
    whole = Sample(32)
    for home in ("once", "twice"):
        fill(rows_of(whole, range(0, 32, 2)), FeatureStore(tmp_path / home))
    fill(whole, FeatureStore(tmp_path / "once"))
    store = FeatureStore(tmp_path / "twice")
    with writer_of(whole, store) as out:
        assert out.claim(0)
        whole.put(out, [1, 3])
    fill(rows_of(whole, range(5, 32)), store)  # could lend more by now
    assert writer_of(whole, store).due().tolist() == list(range(5, 32, 2))
    fill(whole, store)
    assert whole.shards(tmp_path / "twice") == whole.shards(tmp_path / "once")


def test_a_lender_with_rows_of_another_length_is_passed_over(tmp_path: Path) -> None:
    """Images of their own size give such rows, and equal images equal lengths: only a forger does this."""
    store, narrow = FeatureStore(tmp_path), Sample(10)
    fill(narrow, store)
    wide = Sample(9, columns=5)
    wide.hashes = narrow.hashes[:9]
    wide.key = replace(wide.key, rows=fingerprint(wide.hashes))
    assert fill(wide, store) == 9


def test_a_damaged_lender_is_passed_over(tmp_path: Path) -> None:
    whole, store = Sample(10), FeatureStore(tmp_path)
    fill(whole, store)
    path = store.folder(whole.key) / "key.json"
    path.write_text(json.dumps({"n_rows": 10}))
    assert fill(rows_of(whole, range(5)), store) == 5
