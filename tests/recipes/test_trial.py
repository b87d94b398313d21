"""What a trial tries: rows of all classes, validation rows that are no training rows, the fit as it will be made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from featx.data.sources import load_source
from featx.data.splits import Part, Partition
from featx.probes.config import FitConfig
from featx.recipes import trial


@pytest.fixture
def digits() -> Partition:
    source = load_source("digits")
    parts = [Part(source, np.arange(start, end)) for start, end in ((0, 600), (600, 700), (700, 900))]
    return Partition(*parts, seed=0)


def tried(monkeypatch: pytest.MonkeyPatch, rows: Partition, count: int, how: FitConfig) -> tuple[dict[str, Any], float]:
    """Price a fit from so many rows of 64 columns, where the fit takes 2 s."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(trial, "fit_head", lambda data, config, classes, device: seen.update(data=data, config=config))
    monkeypatch.setattr(trial, "_timed", lambda work: (2.0, work()))
    X = np.random.default_rng(0).standard_normal((count, 64)).astype(np.float32)
    seconds = trial._softmax(X, rows.train.labels[:count], how, rows, "cpu")
    return seen, seconds


def test_a_fit_is_tried_as_it_will_be_made_and_priced_by_its_rows(
    monkeypatch: pytest.MonkeyPatch, digits: Partition
) -> None:
    seen, seconds = tried(monkeypatch, digits, 512, FitConfig(sweep="clip"))
    assert seen["config"] == FitConfig(sweep="clip")
    (X, y), (X_val, y_val) = seen["data"]["train"], seen["data"]["val"]
    assert (len(X), len(X_val)) == (439, 73)
    assert len({row.tobytes() for row in np.concatenate([X, X_val])}) == 512  # none is of both
    assert len(np.unique(y)) == len(np.unique(y_val)) == 10
    assert seconds == pytest.approx(2.0 * 700 / 512)


def test_of_few_images_all_classes_are_tried(monkeypatch: pytest.MonkeyPatch, digits: Partition) -> None:
    seen, _ = tried(monkeypatch, digits, 4, FitConfig())
    X, y = seen["data"]["train"]
    assert len(np.unique(y)) == 10
    assert len(np.unique(X, axis=0)) == len(X)


def test_without_validation_rows_none_are_tried(monkeypatch: pytest.MonkeyPatch, digits: Partition) -> None:
    none = replace(digits, val=Part(digits.val.source, digits.val.rows[:0]))
    seen, _ = tried(monkeypatch, none, 512, FitConfig())
    assert len(seen["data"]["val"][1]) == 0
    assert len(seen["data"]["train"][1]) == 512
