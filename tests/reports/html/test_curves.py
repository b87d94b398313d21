"""Learning curves over each other, of histories that anyone may have written."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from pages import read_page
from recorded import TRAIN

from featx.core.run_folder import Runs
from featx.reports.html.content import Content
from featx.reports.html.curves import CROWD, MOST, curves


def history(epochs: int, **changes: Any) -> list[dict[str, Any]]:
    lines = []
    for epoch in range(1, epochs + 1):
        scores = {"train_loss": 2.0 / epoch, "val_loss": 2.5 / epoch, "train_accuracy": 0.5, "val_accuracy": 0.4}
        lines.append({"epoch": epoch, "seconds": 2.0, **scores, **changes})
    return lines


def drawn(tmp_path: Path, *histories: Any) -> str:
    for n, lines in enumerate(histories):
        folder = tmp_path / "runs" / f"20260102-{n:06d}-train-{n:04x}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({**TRAIN, "lr": n, "history": lines, "best_epoch": 2}))
    return curves(Content.of(Runs(tmp_path).list(), None, {}))


def paths(text: str) -> list[str]:
    """Return the lines themselves, of all plots."""
    return re.findall(r'<path(?: class="t")? d="(M[^"V]*l[^"]*)"', text)


def test_loss_and_accuracy_are_drawn_by_epoch_and_by_seconds(tmp_path: Path) -> None:
    text = drawn(tmp_path, history(5), history(3))
    found = read_page(text)
    titles = ["Loss by epoch", "Accuracy by epoch", "Loss by seconds", "Accuracy by seconds"]
    assert found.texts["title"] == titles
    assert len(paths(text)) == 4 * 2 * 2
    assert text.count('class="t" d=') == 8  # training is dashed
    rows = [line for line in found.texts["tr"] if line.endswith(("10.00", "6.00"))]
    assert len(rows) == 2  # seconds add up
    assert "0.4000" in rows[0]


def test_long_curves_are_thinned_and_keep_their_ends(tmp_path: Path) -> None:
    text = drawn(tmp_path, history(10_000))
    assert all(path.count("l") < MOST for path in paths(text))
    assert f"at most {MOST} points" in text
    assert "10000" in text


def test_of_very_many_trainings_validation_alone_is_drawn(tmp_path: Path) -> None:
    text = drawn(tmp_path, *[history(4)] * (CROWD + 1))
    assert len(paths(text)) == 4 * (CROWD + 1)
    assert "validation alone is drawn" in text


def test_one_epoch_is_a_dot(tmp_path: Path) -> None:
    text = drawn(tmp_path, history(1))
    assert paths(text) == []
    assert text.count("<circle") == 8


def test_without_validation_training_is_drawn(tmp_path: Path) -> None:
    lines = [{key: value for key, value in line.items() if not key.startswith("val")} for line in history(4)]
    assert len(paths(drawn(tmp_path, lines))) == 4


def test_a_loss_that_exploded_has_a_logarithmic_axis(tmp_path: Path) -> None:
    text = drawn(tmp_path, [*history(3), *history(1, epoch=4, train_loss=1e9, val_loss=math.e)])
    assert "1G" in text or "100M" in text


@pytest.mark.parametrize(
    "lines", [None, "x", [], [1], [{}], [{"epoch": "a", "val_loss": 1}], [{"epoch": 1e400, "val_loss": None}]]
)
def test_what_cannot_be_drawn_is_not(tmp_path: Path, lines: Any) -> None:
    assert paths(drawn(tmp_path, lines)) == []
