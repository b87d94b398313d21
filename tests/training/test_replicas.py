"""Several processes train as one: gradients, statistics of batch norm, whole trainings, interruptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shared_batches
from several import several

from featx.training.checkpoints import CHECKPOINT_FILE

pytestmark = pytest.mark.usefixtures("one_thread")

UNEVEN = (7, 5)  # over 2 and 3 processes; of 3, the second batch is too small and computed by all

BLENDS = {"mixup": 0.4, "cutmix": 1.0}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain", {**BLENDS, "label_smoothing": 0.1, "class_weight": "balanced"}),
        ("normed", {"mixup": 0.4}),
    ],
    ids=["blended and weighted", "batch norm"],
)
@pytest.mark.parametrize("size", [3])
def test_gradients_are_those_of_one_process(size: int, name: str, options: dict[str, Any], tmp_path: Path) -> None:
    one = shared_batches.step_of(name, UNEVEN, options)
    found = several(shared_batches.step_of, size, tmp_path, name, UNEVEN, options)
    for each in found:
        assert set(each["gradients"]) == set(one["gradients"])
        for parameter, gradient in one["gradients"].items():
            np.testing.assert_allclose(each["gradients"][parameter], gradient, rtol=0, atol=1e-6, err_msg=parameter)
        np.testing.assert_allclose(each["sums"], one["sums"], rtol=1e-6)
        for buffer, expected in zip(each["buffers"], one["buffers"], strict=True):
            np.testing.assert_allclose(buffer, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[0]["seen"], one["seen"], rtol=1e-4, atol=1e-5)
    assert found[0]["sums"] == found[1]["sums"]


def test_batch_norm_of_slices_is_another(tmp_path: Path) -> None:
    one = shared_batches.step_of("normed", (8,), {})
    apart = several(shared_batches.step_of, 2, tmp_path, "normed", (8,), {"sync_batch_norm": False})
    first = next(iter(one["gradients"]))
    assert np.abs(apart[0]["gradients"][first] - one["gradients"][first]).max() > 1e-4


def assert_alike(found: dict[str, Any], one: dict[str, Any]) -> None:
    """Compare a training with one process's."""
    for line, expected in zip(found["history"], one["history"], strict=True):
        assert line == pytest.approx(expected, rel=1e-4, abs=1e-6)
    for name, expected in one["weights"].items():
        np.testing.assert_allclose(found["weights"][name], expected, rtol=0, atol=1e-5, err_msg=name)
    assert found["accuracy"] == one["accuracy"]
    assert found["loss"] == pytest.approx(one["loss"], rel=1e-4)
    assert found["cached"] == one["cached"]


@pytest.mark.parametrize("name", shared_batches.TRAININGS)
def test_trainings_are_those_of_one_process(name: str, tmp_path: Path) -> None:
    one = shared_batches.trained(name)
    first, second = several(shared_batches.trained, 2, tmp_path, name)
    assert_alike(first, one)
    assert (one["processes"], first["processes"]) == (1, 2)
    assert (first["told"], second["told"]) == (len(one["history"]), 0)
    for same in ("history", "accuracy", "loss"):
        assert first[same] == second[same]


def test_broken_images_are_left_out_by_all(tmp_path: Path) -> None:
    def train(size: int) -> Any:
        return several(shared_batches.trained_on_broken, size, tmp_path, "cached")[-1]

    one, last = train(1), train(2)
    assert len(one["skipped"]) == 2
    assert last["skipped"] == one["skipped"]
    assert_alike(last, one)


def test_batches_of_one_image_a_process_are_refused_by_all(tmp_path: Path) -> None:
    errors = several(shared_batches.trained_in_batches_of_three, 2, tmp_path)
    assert {found["error"] for found in errors} == {
        "batch-size is 3 for 2 processes, which share each batch, expected at least 4"
    }


def test_all_stop_where_one_is_told_to_and_any_number_resumes(tmp_path: Path) -> None:
    one = shared_batches.trained("augmented")
    for before, after in ((2, 1), (1, 2)):
        folder = tmp_path / f"{before}-{after}"
        folder.mkdir()
        ends = several(shared_batches.stopped, before, tmp_path, folder)
        assert ends == [{"interrupted": 8}] * before  # of six steps an epoch
        assert (folder / CHECKPOINT_FILE).is_file()
        resumed = several(shared_batches.trained, after, tmp_path, "augmented", folder)
        assert {found["resumed"] for found in resumed} == {1}
        assert_alike(resumed[0], one)
