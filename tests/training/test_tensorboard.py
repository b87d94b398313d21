"""TensorBoard: an extra, told of in words where it is not there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from featx.errors import OptionError
from featx.training.tensorboard import board

LINE = {"epoch": 1, "lr": 0.1, "train_loss": 2.0, "val_accuracy": 0.5}


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # TensorBoard's own default is a folder below this one
    with board(None) as write:
        write(LINE)
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_the_package_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with board(None) as write:
        write(LINE)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(OptionError, match="tensorboard") as caught, board(tmp_path):
        pass
    assert caught.value.hint == "pip install 'featx[tensorboard]'"


def test_a_line_an_epoch_is_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with board(tmp_path) as write:
        for epoch in (1, 2):
            write({**LINE, "epoch": epoch})
    found = EventAccumulator(str(tmp_path))
    found.Reload()
    assert {*found.Tags()["scalars"]} == {"lr", "loss/train", "accuracy/val"}
    assert [(e.step, e.value) for e in found.Scalars("accuracy/val")] == [(1, 0.5), (2, 0.5)]
