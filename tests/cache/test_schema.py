"""What is written can be read by others, and what is read is believed only as far as it fits."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import in_child

from featx.cache.schema import Plan, Receipt, fingerprint, plan_shard_rows, shard_image
from featx.errors import OptionError

PLAN = Plan(8, 8, 4, 3, "float32", ("fc", "conv:avg"))
RECEIPT = Receipt(1, 4, 8, "a" * 64, 2048 + 48, 2048, [[5, "no image"]], {"read": 0.1}, {"featx": "1"})


def test_plan_and_receipt_come_back_from_their_dictionaries() -> None:
    assert Plan.from_dict(PLAN.as_dict()) == PLAN
    assert Receipt.from_dict(RECEIPT.as_dict(), 1, PLAN, 10) == RECEIPT
    assert PLAN.shards(10) == 3
    assert [PLAN.span(shard, 10) for shard in range(3)] == [(0, 4), (4, 8), (8, 10)]
    assert [PLAN.shards_of(block, 10) for block in range(PLAN.blocks(10))] == [range(2), range(2, 3)]


@pytest.mark.parametrize(
    "change",
    [
        {"columns": 0},
        {"columns": 3.0},
        {"columns": True},
        {"columns": 2**40},
        {"shard_rows": -1},
        {"shard_rows": 10**8},
        {"block_rows": 6},
        {"block_rows": 2},
        {"dtype": "object"},
        {"layers": "fc"},
        {"compiled": 1},
        {"extra": 1},
    ],
)
def test_a_plan_with_impossible_values_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Plan.from_dict({**PLAN.as_dict(), **change})


@pytest.mark.parametrize(
    "change",
    [
        {"index": 0},
        {"start": 3},
        {"start": 4.0},
        {"stop": 9},
        {"sha256": "A" * 64},
        {"sha256": "../" * 20},
        {"offset": -1},
        {"offset": 2049},
        {"bytes": 2048 + 47},
        {"bytes": 1e9},
        {"bytes": 1 << 20},
        {"skipped": [[4, "a"], [4, "b"]]},
        {"skipped": [[8, "a"]]},
        {"skipped": [[5]]},
        {"skipped": {}},
        {"seconds": {"read": "1"}},
        {"versions": []},
    ],
)
def test_a_receipt_that_does_not_fit_its_plan_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Receipt.from_dict({**RECEIPT.as_dict(), **change}, 1, PLAN, 10)


def test_a_receipt_names_its_file_by_its_hash() -> None:
    assert RECEIPT.file == "00001-aaaaaaaaaaaa.h5"
    assert dataclasses.replace(RECEIPT, index=123_456).file.startswith("123456-")


@pytest.mark.parametrize(
    ("n_rows", "row_bytes", "rows"),
    [
        (0, 4, 1024),
        (100, 2048, 1024),
        (50_000, 2048, 2048),
        (50_000, 64_000, 512),
        (10_000_000, 512, 65_536),
        (10_000_000, 2048, 16_384),
        (50_000, 10**9, 1),
    ],
)
def test_a_shard_is_about_a_thirtieth_of_the_rows_within_bounds(n_rows: int, row_bytes: int, rows: int) -> None:
    assert plan_shard_rows(n_rows, row_bytes) == rows


@given(st.integers(0, 10**9), st.integers(1, 10**9 // 4))
def test_a_planned_shard_is_always_allowed(n_rows: int, columns: int) -> None:
    rows = plan_shard_rows(n_rows, 4 * columns)
    assert rows & (rows - 1) == 0
    assert rows == 1 or (rows <= 65_536 and rows * 4 * columns <= 64e6)
    assert Plan(1, rows, rows, columns, "float32", ()).shards(n_rows) == -(-n_rows // rows)


@pytest.mark.parametrize("dtype", ["<f4", "<f2"])
def test_a_shard_is_plain_hdf5_and_its_rows_lie_at_the_offset(dtype: str) -> None:
    X = np.random.default_rng(0).normal(size=(5, 7)).astype(dtype)
    data, offset = shard_image(X, "k" * 64, 40)
    assert data[offset : offset + X.nbytes] == X.tobytes()
    with h5py.File(io.BytesIO(data)) as file:
        assert np.array_equal(file["X"][:], X)
        assert file["X"].dtype == dtype
        assert file["X"].chunks is None
        assert dict(file["X"].attrs) == {"schema": 1, "key": b"k" * 64, "start": 40}


def test_equal_features_give_equal_bytes_in_every_process() -> None:
    X = np.random.default_rng(0).normal(size=(50, 7)).astype("<f4")
    expected = hashlib.sha256(shard_image(X, "k" * 64, 0)[0]).digest()

    def again() -> None:
        rubbish = [np.full(10**5, i) for i in range(20)]  # other contents of freed memory
        del rubbish
        raise SystemExit(hashlib.sha256(shard_image(X, "k" * 64, 0)[0]).digest() != expected)

    assert in_child(again) == 0
    assert hashlib.sha256(shard_image(X, "k" * 64, 1)[0]).digest() != expected


def test_the_fingerprint_is_over_number_and_order_of_the_rows() -> None:
    rows = np.arange(96, dtype=np.uint8).reshape(3, 32)
    assert fingerprint(rows) == hashlib.sha256(b"3:" + rows.tobytes()).hexdigest()
    assert fingerprint(rows[::-1]) == hashlib.sha256(b"3:" + rows[::-1].tobytes()).hexdigest()
    assert fingerprint(rows[:0]) == hashlib.sha256(b"0:").hexdigest()
    for wrong in (rows.astype(np.int64), rows[:, :31], rows.ravel()):
        with pytest.raises(OptionError):
            fingerprint(wrong)
