"""Folders that mean a split by any usual name are splits; what could be either is refused, and classes are said."""

from __future__ import annotations

import json
import shlex
import shutil
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner

from featx.cli.main import cli
from featx.data.sources import load_splits
from featx.errors import FeatxWarning, SourceError

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
    with pytest.raises(SourceError, match=f"holds {other} next to {known}, with the same folders in it") as caught:
        load_splits(laid_out(tmp_path, fill, known, other))
    if other == "Test-1" and known == "test":
        assert caught.value.hint == "merge it into test, or move it elsewhere"
        return
    path = tmp_path / "photos"
    there = path / ("train" if known == "test" else "test")
    assert not there.exists()
    assert command_in(caught.value.hint) == ["mv", str(path / other), str(there)]


def command_in(hint: str) -> list[str]:
    return shlex.split(hint.partition("(for example ")[2].partition("), or")[0])


def test_a_name_that_says_its_split_is_proposed_that_one(tmp_path: Path, fill: Fill) -> None:
    path = laid_out(tmp_path, fill, "train1", "train2", "test")
    with pytest.raises(SourceError, match=r"holds train1 next to test, .* but it is not called train") as caught:
        load_splits(path)
    assert command_in(caught.value.hint) == ["mv", str(path / "train1"), str(path / "train")]
    assert caught.value.hint.startswith("rename it to train (")


@pytest.mark.parametrize("there", ["empty", "held back"])
def test_no_folder_that_is_there_is_proposed(tmp_path: Path, fill: Fill, there: str) -> None:
    path = laid_out(tmp_path, fill, "set/train", "set/my new") / "set"
    for name in ("test", "val")[: 1 + (there == "empty")]:
        (path / name).mkdir()
    with pytest.raises(SourceError, match="holds my new next to train") as caught:
        load_splits(path.parent)
    if there == "empty":
        assert caught.value.hint == "merge it into test, train, val, or move it elsewhere"
    else:
        assert command_in(caught.value.hint) == ["mv", str(path / "my new"), str(path / "val")]


def test_a_folder_in_an_archive_is_not_moved_by_a_command(tmp_path: Path, fill: Fill) -> None:
    path = shutil.make_archive(str(tmp_path / "x"), "zip", laid_out(tmp_path, fill, "train1", "test"))
    with pytest.raises(SourceError, match="holds train1 next to test") as caught:
        load_splits(path)
    assert caught.value.hint == "recreate the archive with it named train, or without it"


@pytest.mark.parametrize("beside", ["prediction", "unlabeled", "prediction unlabeled", "."])
@pytest.mark.parametrize("split", ["train", "test", "Training Set"])
def test_a_split_beside_images_without_classes_is_no_class(tmp_path: Path, fill: Fill, split: str, beside: str) -> None:
    path = laid_out(tmp_path, fill, split, classes="ab")
    fill(path, [f"{top}/{i}.png" for top in beside.split() for i in range(2)])
    with pytest.raises(SourceError, match=f"holds {split}, a split next to images without classes") as caught:
        load_splits(path)
    assert caught.value.hint == f"name {shlex.quote(str(path / split))}, or move what is next to it elsewhere"
    assert found(path / split) == {"all": ("a", "b")}
    with pytest.raises(SourceError, match="a split next to images without classes") as caught:
        load_splits(shutil.make_archive(str(tmp_path / "x"), "zip", path))
    assert caught.value.hint == f"recreate the archive with {split} alone"


@pytest.mark.parametrize("more", ["train/1.png", "bus/red/1.png"])
def test_a_class_of_trains_with_folders_in_it_stays_a_class(tmp_path: Path, fill: Fill, more: str) -> None:
    path = fill(tmp_path / "photos", ["train/steam/1.png", "train/diesel/1.png", "bus/1.png", "car/1.png", more])
    assert found(path) == {"all": ("bus", "car", "train")}


@pytest.mark.parametrize("tops", ["TRAIN TeStInG", "tRaIn tEsT", "TrAiNiNgSet TEST2017", "TRAIN_set HoldOUT"])
def test_capitals_do_not_count(tmp_path: Path, fill: Fill, tops: str) -> None:
    assert found(laid_out(tmp_path, fill, *tops.split())) == dict.fromkeys(("train", "test"), ("a", "b", "c"))


def test_a_part_of_a_splits_folders_is_refused_too(tmp_path: Path, fill: Fill) -> None:
    path = fill(tmp_path / "photos", ["train/a/1.png", "train/b/1.png", "train/c/1.png", "extra/b/1.png"])
    with pytest.raises(SourceError, match="holds extra next to train, with the same folders in it"):
        load_splits(path)


def test_two_names_that_say_two_splits_and_repeat_each_other_are_refused(tmp_path: Path, fill: Fill) -> None:
    with pytest.raises(SourceError, match=r"holds seg_(test|train) next to seg_(test|train)"):
        load_splits(laid_out(tmp_path, fill, "seg_train", "seg_test"))


@pytest.mark.parametrize("same", [("train", "training"), ("val", "valid"), ("test", "Test"), ("testing", "holdout")])
def test_two_folders_that_mean_the_same_split_are_refused(tmp_path: Path, fill: Fill, same: tuple[str, str]) -> None:
    with pytest.raises(SourceError, match="which mean the same split") as caught:
        load_splits(laid_out(tmp_path, fill, *same))
    assert all(name in caught.value.message for name in same)


def test_eval_beside_test_validates_and_a_note_says_so(tmp_path: Path, fill: Fill) -> None:
    path = laid_out(tmp_path, fill, "train", "eval", "test")
    with pytest.warns(FeatxWarning, match="holds eval next to test: eval is used for validation"):
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
        with pytest.raises(SourceError, match="train and val folders next to bus"):
            load_splits(path)
        (path / "valid/2.png").rename(path / "bus/2.png")
        (path / "valid").rmdir()
        assert found(path) == {"all": ("bus", "train")}
        assert found(laid_out(tmp_path / "x", fill, "cat", "dog", classes="io")) == {"all": ("cat", "dog")}


def test_splits_below_classes_are_said_not_to_count(tmp_path: Path, fill: Fill) -> None:
    path = fill(tmp_path / "photos", [f"{c}/{s}/1.png" for c in ("cat", "dog") for s in ("train", "test")])
    with pytest.warns(FeatxWarning, match=r"holds splits inside its classes \(cat, dog\).*above the classes"):
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
