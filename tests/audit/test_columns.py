"""Columns that say nothing are named."""

from __future__ import annotations

import numpy as np
import pytest

from featx.audit import columns
from featx.audit.columns import silent_columns
from featx.errors import FeatureError


def test_dead_and_constant_columns_are_told_apart_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "BLOCK_VALUES", 12)
    X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    X[:, 1], X[:, 2] = 0, 3
    X[:49, 3] = 0  # one image excites it
    found = silent_columns(X)
    assert (found.columns, found.dead, found.constant) == (4, [1], [2])


@pytest.mark.parametrize("X", [np.empty((0, 2)), np.array([[0.0, np.nan]])])
def test_nothing_is_said_of_no_rows_and_of_nan(X: np.ndarray) -> None:
    with pytest.raises(FeatureError):
        silent_columns(X)
