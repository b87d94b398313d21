"""Predictions kept image by image, and two runs compared by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn import drawn

from featx.core.run_folder import Run, Runs
from featx.data.splits import Part
from featx.errors import OptionError, StoreError
from featx.reports.predictions import PREDICTIONS_FILE, TABLE_FILE, compare, load_predictions, save_predictions

SOURCE = drawn(20, 4)


def run_with(home: Path, rows: list[int], wrong: list[int]) -> Run:
    """Record a run that has these rows of the source wrong."""
    part = Part(SOURCE, np.array(rows))
    predicted = np.where(np.isin(part.rows, wrong), (part.labels + 1) % 4, part.labels)
    run = Runs(home).new("train", ["featx"])
    save_predictions(run, part, predicted)
    return run


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    run = run_with(tmp_path, [3, 5, 8], [5])
    found = load_predictions(run)
    assert found["labels"].tolist() == [3, 1, 0]
    assert found["predicted"].tolist() == [3, 2, 0]
    np.testing.assert_array_equal(found["hashes"], SOURCE.row_hashes()[[3, 5, 8]])


def test_the_table_names_classes_and_leaves_out_what_a_head_does_not_give(tmp_path: Path) -> None:
    part, run = Part(SOURCE, np.array([3, 5, 8])), Runs(tmp_path).new("fit", ["featx"])
    save_predictions(run, part, np.array([3, 2, 0]), np.array([0.25, np.nan, 1 / 3]))
    lines = (run.path / TABLE_FILE).read_text("utf-8").splitlines()
    names, ids = SOURCE.classes, SOURCE.ids
    assert lines == [
        "id,label,predicted,probability",
        f"{ids[3]},{names[3]},{names[3]},0.25",
        f"{ids[5]},{names[1]},{names[2]},",
        f"{ids[8]},{names[0]},{names[0]},0.333333",
    ]


def test_runs_are_compared_image_by_image_whatever_their_order(tmp_path: Path) -> None:
    rows = list(range(12))
    first, second = run_with(tmp_path, rows, [0, 1]), run_with(tmp_path, rows[::-1], [1, 2, 3, 4])
    found = compare(first, second)
    assert (found["only_first"], found["only_second"], found["n"]) == (3, 1, 12)
    assert found["p_exact"] == pytest.approx(10 / 16)  # of four images, three or more on one side


def test_other_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="different test images"):
        compare(run_with(tmp_path, [0, 1, 2], []), run_with(tmp_path, [0, 1, 3], []))


def test_a_run_without_predictions_is_refused(tmp_path: Path) -> None:
    run = run_with(tmp_path, [0, 1], [])
    (run.path / PREDICTIONS_FILE).write_bytes(b"nonsense")
    with pytest.raises(StoreError, match="damaged"):
        load_predictions(run)
    (run.path / PREDICTIONS_FILE).unlink()
    with pytest.raises(StoreError, match=PREDICTIONS_FILE):
        load_predictions(run)
