"""Two runs compared: what makes them unequal, and what else is told."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from featx.core.run_folder import MODEL_FILE, Run, Runs
from featx.errors import CorruptStoreError
from featx.reports.predictions import PREDICTIONS_FILE
from featx.runs.rerun import compare_runs

RECORD: dict[str, Any] = {
    "source": "digits",
    "classes": ["a", "b"],
    "accuracy": {"train": 1.0, "test": 0.5},
    "loss": {"train": 0.25, "test": None},
    "rows": {"train": 8, "test": 2},
    "fingerprints": {"all": "f" * 64},
    "labels": {"all": "e" * 64},
    "limit": None,
    "per_class": None,
    "history": [{"epoch": 1, "train_loss": 1.0, "seconds": 3.0}, {"epoch": 2, "train_loss": 0.5, "seconds": 3.0}],
    "best_epoch": 2,
    "seed": 0,
    "weights": "random:0",
    "weights_sha256": "a" * 64,
    "versions": {"torch": "2"},
    "hardware": {"machine": "x86_64"},
    "device": "cpu",
    "seconds": {"total": 3.0},
}
TENSORS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2, np.float32)}
PREDICTIONS = {"hashes": np.zeros((2, 32), np.uint8), "labels": np.arange(2), "predicted": np.zeros(2, np.int64)}

Make = Callable[..., Run]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a run, some fields of its record changed."""

    def write(tensors: Any = TENSORS, predictions: Any = PREDICTIONS, **fields: Any) -> Run:
        run = Runs(tmp_path).new("train", ["featx"])
        run.write(copy.deepcopy(RECORD) | fields)
        run.write_bytes(MODEL_FILE, save(tensors))
        run.write_bytes(PREDICTIONS_FILE, save(predictions))
        return run

    return write


def test_times_and_places_make_no_difference(make: Make) -> None:
    slower = [line | {"seconds": 9.0} for line in RECORD["history"]]
    assert compare_runs(make(), make(seconds={"total": 9.0}, history=slower, notes=["busy"], path="/else")) == []


@pytest.mark.parametrize(
    ("changed", "name", "by"),
    [
        ({"accuracy": {"train": 1.0, "test": 0.75}}, "test accuracy", 0.25),
        ({"loss": {"train": 0.25, "test": 2.0}}, "test loss", None),
        ({"history": RECORD["history"][:1]}, "epochs", 1),
        ({"history": [{"epoch": 1, "train_loss": 1.5}, {"epoch": 2, "train_loss": 2.0}]}, "train loss of epoch 1", 0.5),
        ({"best_epoch": 1}, "best epoch", None),
        ({"tensors": TENSORS | {"b": np.array([0, 0.5], np.float32)}}, "1 of 2 tensors", 0.5),
        ({"tensors": TENSORS | {"b": np.array([0, -0.0], np.float32)}}, "1 of 2 tensors", 0.0),
        ({"tensors": TENSORS | {"b": np.zeros(3, np.float32)}}, "1 of 2 tensors", None),
        ({"tensors": {"other": TENSORS["b"]}}, f"tensors in {MODEL_FILE}", None),
        ({"predictions": PREDICTIONS | {"predicted": np.array([0, 1])}}, "predictions of the test images", None),
        ({"predictions": PREDICTIONS | {"labels": np.array([1, 1])}}, "test images", None),
    ],
)
def test_results_that_differ(make: Make, changed: Any, name: str, by: float | None) -> None:
    (found,) = compare_runs(make(), make(**changed))
    assert (found.kind, found.name) == ("result", name)
    if name != "epochs":
        assert found.by == by
    assert name in str(found)


@pytest.mark.parametrize(
    ("changed", "kind", "name"),
    [
        ({"weights_sha256": "b" * 64}, "file", "weights_sha256"),
        ({"fingerprints": {"all": "0" * 64}}, "rows", "fingerprints"),
        ({"versions": {"torch": "3"}}, "version", "torch"),
        ({"hardware": {"machine": "arm64"}}, "device", "machine"),
        ({"device": "cuda:0"}, "device", "device"),
        ({"seed": 1}, "option", "seed"),
    ],
)
def test_what_results_may_be_due_to(make: Make, changed: Any, kind: str, name: str) -> None:
    (found,) = compare_runs(make(), make(**changed))
    assert (found.kind, found.name) == (kind, name)


def test_fields_that_an_older_featx_did_not_write_are_no_difference(make: Make) -> None:
    newer = make(top5={"test": 0.9}, hardware={"machine": "x86_64", "threads": 2}, asked={"source": "digits"})
    assert compare_runs(make(), newer) == []
    assert compare_runs(make(), make(columns=8, model_classes=[0, 1])) == []


def test_a_base_that_one_run_keeps_too_is_left_aside(make: Make) -> None:
    assert compare_runs(make(), make(tensors=TENSORS | {"base": np.ones(9, np.float32)})) == []


@pytest.mark.parametrize("broken", [{"history": 3}, {"accuracy": "high"}, {"layers": [1]}, {"versions": ["torch"]}])
def test_a_damaged_record_is_told(make: Make, broken: Any) -> None:
    with pytest.raises(CorruptStoreError, match="damaged"):
        compare_runs(make(**broken), make())


def test_a_damaged_model_is_told(make: Make) -> None:
    run = make()
    (run.path / MODEL_FILE).write_bytes(b"nothing")
    with pytest.raises(CorruptStoreError, match="damaged"):
        compare_runs(make(), run)
