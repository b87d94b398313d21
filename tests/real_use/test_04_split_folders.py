"""Folders that mean a split by any usual name are splits; what could be either is refused, and classes are said."""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner

from featx.cli.main import cli
from featx.errors import FeatxWarning, SourceError
from featx.sources import load_splits

Fill = Callable[[Path, Iterable[str]], Path]


def laid_out(tmp_path: Path, fill: Fill, *tops: str, classes: str = "abc") -> Path:
    return fill(tmp_path / "photos", [f"{top}/{c}/{i}.png" for top in tops for c in classes for i in range(2)])


def found(path: Path) -> dict[str, tuple[str, ...]]:
    return {split: source.classes for split, source in load_splits(path).items()}


@pytest.mark.parametrize(
    ("tops", "splits"),
    [
        ("train testing", "train test"),
        ("training validation testing", "train val test"),
        ("train eval", "train test"),
        ("TRAINING Evaluation", "train test"),
        ("train dev", "train val"),
        ("train valid", "train val"),
        ("train holdout", "train test"),
        ("train hold-out", "train test"),
        ("train held_out", "train test"),
        ("train dev eval", "train val test"),
        ("training_set test_set", "train test"),
        ("Training Images|Test Images", "train test"),
        ("train2017 val2017", "train val"),
        ("TrainSet TestSet", "train test"),
        ("trainset devset testset", "train val test"),
    ],
)
def test_the_usual_names_are_splits(tmp_path: Path, fill: Fill, tops: str, splits: str) -> None:
    path = laid_out(tmp_path, fill, *(tops.split("|") if "|" in tops else tops.split()))
    assert found(path) == dict.fromkeys(splits.split(), ("a", "b", "c"))


@pytest.mark.parametrize("other", ["probe", "Test-1", "te st", "new"])
@pytest.mark.parametrize("known", ["train", "training", "test", "val"])
def test_what_repeats_a_splits_folders_under_another_name_is_refused(
    tmp_path: Path, fill: Fill, known: str, other: str
) -> None:
    with pytest.raises(SourceError, match=f"holds {other} beside {known}, with the same folders in it") as caught:
        load_splits(laid_out(tmp_path, fill, known, other))
    assert f"mv {shlex.quote(other)} test" in caught.value.hint


def test_a_part_of_a_splits_folders_is_refused_too(tmp_path: Path, fill: Fill) -> None:
    path = fill(tmp_path / "photos", ["train/a/1.png", "train/b/1.png", "train/c/1.png", "extra/b/1.png"])
    with pytest.raises(SourceError, match="holds extra beside train, with the same folders in it"):
        load_splits(path)


def test_two_names_that_say_two_splits_and_repeat_each_other_are_refused(tmp_path: Path, fill: Fill) -> None:
    with pytest.raises(SourceError, match=r"holds seg_(test|train) beside seg_(test|train)"):
        load_splits(laid_out(tmp_path, fill, "seg_train", "seg_test"))


@pytest.mark.parametrize("same", [("train", "training"), ("val", "valid"), ("test", "Test"), ("testing", "holdout")])
def test_two_folders_that_mean_the_same_split_are_refused(tmp_path: Path, fill: Fill, same: tuple[str, str]) -> None:
    with pytest.raises(SourceError, match="which mean the same split") as caught:
        load_splits(laid_out(tmp_path, fill, *same))
    assert all(name in caught.value.message for name in same)


def test_eval_beside_test_validates_and_a_note_says_so(tmp_path: Path, fill: Fill) -> None:
    path = laid_out(tmp_path, fill, "train", "eval", "test")
    with pytest.warns(FeatxWarning, match="holds eval beside test: eval is taken to validate"):
        assert list(load_splits(path)) == ["train", "val", "test"]
    assert load_splits(path)["val"].ids[0] == "eval/a/0.png"


def test_a_list_and_parquet_files_know_the_same_names(tmp_path: Path, fill: Fill) -> None:
    path = laid_out(tmp_path, fill, "x")
    lines = ["path,label,split", "x/a/0.png,a,Training", "x/b/0.png,b,training", "x/c/0.png,c,hold-out"]
    (path / "list.csv").write_text("\n".join(lines))
    assert [(split, len(source)) for split, source in load_splits(path / "list.csv").items()] == [
        ("train", 2),
        ("test", 1),
    ]
    (path / "list.csv").write_text("\n".join([*lines, "x/a/1.png,a,test"]))
    with pytest.raises(SourceError, match="holds hold-out and test, which mean the same split, test"):
        load_splits(path / "list.csv")


@pytest.mark.parametrize("tops", ["training_set test_set", "train val"])
def test_a_split_folder_inside_itself_is_no_class(tmp_path: Path, fill: Fill, tops: str) -> None:
    path = laid_out(tmp_path, fill, *(f"{top}/{top}" for top in tops.split()))
    assert set(found(path).values()) == {("a", "b", "c")}


@pytest.mark.parametrize("around", ["test", "dev", "evaluation"])
def test_a_folder_of_split_folders_is_no_split_whatever_it_is_called(tmp_path: Path, fill: Fill, around: str) -> None:
    path = laid_out(tmp_path, fill, f"{around}/train", f"{around}/testing")
    assert found(path) == {"train": ("a", "b", "c"), "test": ("a", "b", "c")}


def test_classes_of_things_stay_classes(tmp_path: Path, fill: Fill) -> None:
    path = fill(tmp_path / "photos", ["train/1.png", "bus/1.png", "valid/2.png", "train/steam/3.png", "bus/red/4.png"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SourceError, match="train and val folders beside bus"):
            load_splits(path)
        (path / "valid/2.png").rename(path / "bus/2.png")
        (path / "valid").rmdir()
        assert found(path) == {"all": ("bus", "train")}
        assert found(laid_out(tmp_path / "x", fill, "cat", "dog", classes="io")) == {"all": ("cat", "dog")}


def test_splits_below_classes_are_said_not_to_count(tmp_path: Path, fill: Fill) -> None:
    path = fill(tmp_path / "photos", [f"{c}/{s}/1.png" for c in ("cat", "dog") for s in ("train", "test")])
    with pytest.warns(FeatxWarning, match=r"holds splits below its classes \(cat, dog\).*above the classes"):
        assert found(path) == {"all": ("cat", "dog")}


@pytest.mark.parametrize(
    "command",
    [
        ["fit", "--pixels"],
        ["train", "-b", "lenet5", "--mode", "scratch", "--epochs", "1", "--size", "32"],
        ["extract", "-b", "pixels", "-l", "pixels"],
    ],
)
def test_commands_say_the_classes(tmp_path: Path, fill: Fill, command: list[str]) -> None:
    path = fill(tmp_path / "photos", [f"{s}/{c}/{i}.png" for s in ("train", "eval") for c in "abc" for i in range(4)])
    done = CliRunner().invoke(cli, [command[0], str(path), *command[1:]])
    assert done.exit_code == 0, done.output
    assert "3 classes: a, b, c\n" in done.stdout
    told = CliRunner().invoke(cli, [command[0], str(path), *command[1:], "--json"])
    assert json.loads(told.stdout)["classes"] == ["a", "b", "c"]


def test_many_classes_are_counted(tmp_path: Path, fill: Fill) -> None:
    path = fill(tmp_path / "photos", [f"{c:02d}/{i}.png" for c in range(21) for i in range(3)])
    done = CliRunner().invoke(cli, ["extract", str(path), "-b", "pixels", "-l", "pixels"])
    assert "21 classes: 00, 01, 02 and 18 more\n" in done.stdout
