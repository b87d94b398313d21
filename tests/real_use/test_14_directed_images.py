"""Images that have a direction are cropped and not mirrored by default; a named augmentation wins, and it is said."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from featx import EndToEndClassifier, load_source
from featx.cli.main import cli
from featx.core.run_folder import Runs
from featx.data.arrays import ArraySource
from featx.errors import FeatxWarning

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = ("-b", "lenet5", "--mode", "scratch", "--epochs", "1", "--limit", "60")


def test_lenet_learns_digits_by_default() -> None:
    record = train("digits", "-b", "lenet5", "--mode", "scratch", "--epochs", "30")
    assert record["accuracy"]["test"] > 0.95  # 0.89 with mirror images, 0.97 without any augmentation
    assert record["augment"] == "crop"


def test_the_record_and_the_terminal_say_which_augmentation_and_why() -> None:
    result = CliRunner().invoke(cli, ["train", "digits", *QUICK])
    said = "augmentation crop: digits have a direction and are not mirrored, unless by --augment crop-flip"
    assert said in result.stderr
    assert "augmentation: crop\n" in result.stdout
    run = Runs().list()[-1].read()
    assert run["augment"] == "crop"
    assert said in run["notes"]


@pytest.mark.parametrize("given", ["flip", "crop-flip", "trivial", "randaugment"])
def test_a_named_augmentation_wins_and_is_told_to_mislead(given: str) -> None:
    result = CliRunner().invoke(cli, ["train", "digits", *QUICK, "--augment", given, "--json"])
    record = json.loads(result.stdout)
    assert record["augment"] == given
    assert f"warning: augmentation {given} mirrors digits, which have a direction" in result.stderr
    assert any(f"{given} mirrors digits" in note for note in record["notes"])


@pytest.mark.parametrize("given", ["none", "crop"])
def test_what_does_not_mirror_needs_no_word(given: str) -> None:
    record = train("digits", *QUICK, "--augment", given)
    assert record["augment"] == given
    assert not any("augmentation" in note for note in record["notes"])


def test_fine_tuning_does_not_mirror_digits_either_and_a_frozen_base_sees_them_as_they_are() -> None:
    rest = ("-b", "lenet5", "--weights", "random:0", "--epochs", "1", "--limit", "60")
    assert train("digits", "--mode", "finetune", *rest)["augment"] == "crop"
    frozen = train("digits", "--mode", "frozen", *rest)
    assert (frozen["augment"], frozen["cached"]) == ("none", True)


def test_photographs_are_still_mirrored(tmp_path: Path) -> None:
    record = train(str(folder(tmp_path, ["cat", "dog"], grey=False)), *QUICK)
    assert record["augment"] == "crop-flip"
    assert not any("augmentation" in note for note in record["notes"])


def test_saying_what_is_the_default_is_the_same_training(tmp_path: Path) -> None:
    first = train("digits", *QUICK)
    again = train("digits", *QUICK, "--augment", "crop", "--resume")
    assert again["run"] == first["run"]


@pytest.mark.parametrize(
    ("classes", "grey", "augment"),
    [
        (list("0123456789"), True, "crop"),  # handwriting
        (list("0123456789"), False, "crop-flip"),  # photographs, classes without names
        (list("ABCDEFGHIK"), False, "crop"),
        (["turn left", "turn right", "stop"], False, "crop"),
        (["turn_left", "turn_right"], False, "crop"),
        (["lefty", "righty"], False, "crop-flip"),
        (["a", "b", "c"], False, "crop-flip"),
    ],
)
def test_a_folder_s_classes_tell(tmp_path: Path, classes: list[str], grey: bool, augment: str) -> None:
    assert train(str(folder(tmp_path, classes, grey=grey)), *QUICK)["augment"] == augment


@pytest.mark.parametrize(("name", "augment"), [("SVHN.npz", "crop"), ("fashion-mnist.npz", "crop-flip")])
def test_a_file_s_name_tells(tmp_path: Path, name: str, augment: str) -> None:
    random = np.random.default_rng(0)
    X, y = random.integers(0, 256, (60, 8, 8), np.uint8), np.arange(60) % 10
    np.savez(tmp_path / name, X=X, y=y)
    assert train(str(tmp_path / name), *QUICK)["augment"] == augment


def test_python_follows_the_same_rule() -> None:
    digits = load_source("digits", limit=60)
    assert isinstance(digits, ArraySource)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "augmentation", FeatxWarning)
        for X, y in ((digits, None), (digits.images, digits.labels)):
            plain = EndToEndClassifier("lenet5", mode="scratch", epochs=1).fit(X, y)
            cropped = EndToEndClassifier("lenet5", mode="scratch", epochs=1, augment="crop").fit(X, y)
            assert plain.history_[0]["train_loss"] == cropped.history_[0]["train_loss"]
    with pytest.warns(FeatxWarning, match="flip mirrors digits"):
        EndToEndClassifier("lenet5", mode="scratch", epochs=1, augment="flip").fit(digits)


def folder(root: Path, classes: list[str], *, grey: bool) -> Path:
    """Class folders of noise, twelve images each."""
    random = np.random.default_rng(0)
    for name in classes:
        for i in range(12):
            shape = (32, 32) if grey else (32, 32, 3)
            path = root / "images" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(path)
    return root / "images"


def train(*args: str) -> Any:
    result = CliRunner().invoke(cli, ["train", *args, "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)
