"""What the demonstration compares, and with what rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import explode

from featx import demo
from featx.demo import PER_CLASS, Demo, run_demo


@pytest.fixture
def made(tmp_path: Path) -> Demo:
    return Demo(tmp_path / "home", ["featx", "demo"], lambda line: None)


def test_known_and_new_digits_are_different_ones(made: Demo) -> None:
    assert made.known.classes == ("0", "1", "2", "3", "4")
    assert made.new.classes == ("5", "6", "7", "8", "9")
    assert not set(made.known.train.source.ids) & set(made.new.train.source.ids)


def test_parts_are_disjoint_and_hold_every_class(made: Demo) -> None:
    for partition in (made.known, made.new):
        rows = [set(part.rows.tolist()) for part in partition.parts().values()]
        assert sum(map(len, rows)) == len(set.union(*rows))
        assert partition.shared_with_test() == 0
        for part in partition.parts().values():
            assert set(part.labels) == set(range(5))


def test_few_images_teach_and_half_of_all_test(made: Demo) -> None:
    counts = np.bincount(np.concatenate([made.new.train.labels, made.new.val.labels]))
    assert counts.tolist() == [PER_CLASS] * 5
    assert len(made.new.test) == pytest.approx(len(made.new.test.source) / 2, abs=3)


def test_threads_are_given_back_even_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(demo, "train", explode)
    torch.set_num_threads(2)
    try:
        with pytest.raises(AssertionError):
            run_demo(tmp_path / "home", [], tmp_path / "demo.png", lambda line: None)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert not (tmp_path / "demo.png").exists()
    assert not list((tmp_path / "home" / "runs").iterdir())
