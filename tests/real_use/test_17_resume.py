"""``--resume`` goes on if it can, begins anew with a note if not, and fails only where ``=strict`` asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import document, featx, folder_of
from interruptions import interrupted_training

from featx.core.paths import home_folder
from featx.core.run_folder import Runs

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN = ("train", "digits", "-b", "lenet5", "--mode", "scratch", "--limit", "150", "--epochs", "2", "--device", "cpu")
RATE = ("--lr", "0.02")


def interrupted(*args: object) -> str:
    """Begin a training, interrupt it after its second step, and return the run's id."""
    return interrupted_training(*TRAIN, *args)


def test_it_goes_on_whatever_else_lies_there() -> None:
    """Another that was begun with other options, newer, and one that is finished."""
    mine = interrupted(*RATE)
    document(*TRAIN)
    interrupted("--lr", "0.001")
    result = featx(*TRAIN, *RATE, "--resume")
    assert result.exit_code == 0
    assert f"resuming run {mine}" in result.stderr
    assert Runs().open(mine)


def test_it_begins_anew_with_a_note_where_only_others_were_begun() -> None:
    other = interrupted(*RATE)
    result = featx(*TRAIN, "--resume")
    assert result.exit_code == 0, result.output
    assert other in result.stderr
    assert "lr was 0.02, now 0.05" in result.stderr
    assert "starting a new run" in result.stderr
    (begun,) = Runs().list()
    assert begun.id != other
    assert folder_of(other).exists()


def test_strict_fails_where_nothing_can_go_on() -> None:
    assert "no training" in document(*TRAIN, "--resume=strict", code=2)["error"]
    interrupted(*RATE)
    assert "lr was 0.02, now 0.05" in document(*TRAIN, "--resume=strict", code=2)["error"]
    assert Runs().list() == []
    done = document(*TRAIN, *RATE, "--resume=strict")
    assert document(*TRAIN, *RATE, "--resume=strict")["run"] == done["run"]  # finished: there is nothing left to do


@pytest.mark.parametrize("name", ["last-*.safetensors", "checkpoint.json"])
def test_a_damaged_checkpoint_begins_anew_and_strictly_fails(name: str) -> None:
    run = interrupted()
    for path in folder_of(run).glob(name):
        path.write_bytes(b"damaged")
    document(*TRAIN, "--resume=strict", code=2)
    result = featx(*TRAIN, "--resume")
    assert result.exit_code == 0, result.output
    assert "starting a new run" in result.stderr
    assert len(Runs().list()) == 1


def test_resuming_is_the_same_training(tmp_path: Path) -> None:
    run = interrupted()
    found = document(*TRAIN, "--resume")
    assert found["run"] == run
    assert document(*TRAIN, "--home", tmp_path / "other")["loss"] == found["loss"]


def test_the_word_after_resume_is_no_value_of_it() -> None:
    command, source, *rest = TRAIN
    result = featx(command, "--resume", source, *rest)
    assert result.exit_code == 0, result.output
    assert "starting a new run" in result.stderr
    assert featx(*TRAIN, "--resume=maybe").exit_code == 2


def test_several_seeds_go_on_strictly_if_the_first_was_begun() -> None:
    first = interrupted("--seed", "3")
    args = (*TRAIN, "--seed", "3", "--repeat", "2")
    found = document(*args, "--resume=strict")
    assert found["runs"][0]["run"] == first
    assert len(list((home_folder() / "runs").iterdir())) == 2
