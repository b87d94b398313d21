"""What the demonstration compares, and with what rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import explode

from featx.data.sources import load_source
from featx.runs import demo
from featx.runs.demo import CANVAS, COPIES, PER_CLASS, Demo, run_demo


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
        assert partition.count_leaked() == 0
        for part in partition.parts().values():
            assert set(part.labels) == set(range(5))


def test_few_images_teach_and_half_of_all_test(made: Demo) -> None:
    counts = np.bincount(np.concatenate([made.new.train.labels, made.new.val.labels]))
    assert counts.tolist() == [PER_CLASS] * 5
    labels = load_source("digits").labels
    assert len(made.new.test) == pytest.approx((labels >= 5).sum() / 2, abs=3)


def test_a_digit_is_in_one_part_and_those_that_train_at_several_places(made: Demo) -> None:
    names = {}
    for name, part in made.known.parts().items():
        names[name] = [part.source.ids[row].rpartition("-")[0] for row in part.rows]
        assert len({part.source[int(row)][0].tobytes() for row in part.rows[:50]}) > 45
    assert len(set().union(*names.values())) == sum(len(set(part)) for part in names.values())
    assert set(Counter(names["train"]).values()) == {COPIES}
    assert set(Counter(names["test"]).values()) == {1}
    assert made.known.train.source[0][0].shape == (CANVAS, CANVAS, 1)


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
