"""Several processes: who they are, what they tell each other, which part of a batch each computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shared_batches
from several import several

from featx.errors import OptionError
from featx.training.launch import Launch, check_address, launched
from featx.training.signals import SIGNALS, Stopping
from featx.training.world import World


@pytest.mark.parametrize("given", [{}, {"RANK": "1"}, {"WORLD_SIZE": "4"}, {"RANK": "0", "WORLD_SIZE": "1"}])
def test_a_process_is_alone_unless_it_is_told_of_others(given: dict[str, str]) -> None:
    assert launched(given) == Launch(0, 1, 0, 1)


def test_the_launchers_variables_are_read() -> None:
    given = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert launched(given) == Launch(5, 8, 1, 4)
    assert launched({"RANK": "1", "WORLD_SIZE": "2"}) == Launch(1, 2, 1, 2)
    assert not launched(given).first


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"RANK": "two"}, "RANK is 'two', expected a whole number"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is ''"),
        ({"RANK": "2"}, "RANK is 2 of WORLD_SIZE 2"),
        ({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "1"}, "LOCAL_RANK 1 of LOCAL_WORLD_SIZE 1"),
    ],
)
def test_variables_that_do_not_fit_are_refused(wrong: dict[str, str], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        launched({"RANK": "0", "WORLD_SIZE": "2", **wrong})


def test_processes_that_cannot_meet_are_refused() -> None:
    with pytest.raises(OptionError, match="MASTER_PORT is not set"):
        check_address({"WORLD_SIZE": "2", "MASTER_ADDR": "localhost"})


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("n", [8, 9, 11, 50])
def test_slices_are_the_batch_and_nearly_equal(size: int, n: int) -> None:
    batch = np.arange(100, 100 + n)
    found = [World(rank, size).portion(batch, blends=False) for rank in range(size)]
    assert np.concatenate([p.rows for p in found]).tolist() == batch.tolist()
    assert max(len(p.rows) for p in found) - min(len(p.rows) for p in found) <= 1
    assert {(p.lead, p.copies) for p in found} == {(0, 1)}


def test_blended_slices_begin_with_the_image_before_them() -> None:
    found = [World(rank, 2).portion(np.arange(10, 17), blends=True) for rank in range(2)]
    assert [p.rows.tolist() for p in found] == [[16, 10, 11, 12], [12, 13, 14, 15, 16]]
    assert {p.lead for p in found} == {1}


def test_a_batch_of_few_images_is_computed_by_all() -> None:
    found = [World(rank, 3).portion(np.arange(5), blends=True) for rank in range(3)]
    assert [(p.rows.tolist(), p.lead, p.copies) for p in found] == [([0, 1, 2, 3, 4], 0, 3)] * 3


def test_batches_too_small_for_the_processes_are_refused() -> None:
    World(1, 4).check_batch(8)
    World().check_batch(1)
    with pytest.raises(OptionError, match=r"7 for 4 processes.*at least 8"):
        World(1, 4).check_batch(7)


def test_one_signal_is_noted_by_all() -> None:
    stopping, other = Stopping(), Stopping()
    other.note([0.0, 0.0])
    assert not other.wanted
    stopping.note([0.0, 2.0])
    assert stopping.wanted
    assert stopping.counts() == [float(number == SIGNALS[1]) for number in SIGNALS]


def test_what_is_exchanged_arrives(tmp_path: Path) -> None:
    for rank, found in enumerate(several(shared_batches.exchanged, 3, tmp_path)):
        assert found["share"] == {"a": 0.1 + 0.2}
        assert found["gather"] == [0, 1, 2], rank
        assert found["added"] == [6, 6, 6]
        assert found["total"] == [3.0, 1.5]
        np.testing.assert_array_equal(found["tensors"]["x"], np.arange(6, dtype=np.float16).reshape(2, 3))
        assert found["tensors"]["none"].shape == (0, 4)


def test_processes_draw_alike_outside_of_their_own_chance(tmp_path: Path) -> None:
    found = several(shared_batches.chances, 2, tmp_path)
    before, own, after = zip(*found, strict=True)
    assert len(set(before)) == len(set(after)) == 1
    assert before[0] != after[0]
    assert len(set(own)) == 2
    assert shared_batches.chances()[0] == before[0]
