"""What has a left and a right is found by its name or its classes, and is mirrored only where that was asked for."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import pytest
from drawn import drawn

from featx.data.arrays import ArraySource
from featx.errors import ImageError
from featx.training.config import AUGMENTS, MIRRORING, MODES, TrainConfig
from featx.training.direction import MANY, Augmentation, augmentation_of, directed

DIGITS = tuple(string.digits)


def source(spec: str, classes: tuple[str, ...] = ("cat", "dog"), *, grey: bool = False) -> ArraySource:
    found = drawn(4, px=4, channels=1 if grey else 3)
    return ArraySource(found.images, found.labels, classes=classes, spec=spec)


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("digits", "digits"),
        ("mnist", "digits"),
        ("/data/SVHN.npz", "house numbers"),
        ("./some/emnist-letters.zip", "letters"),
        ("cifar10", ""),
        ("fashion_mnist", ""),
        ("Fashion MNIST.npz", ""),
        ("mnist2", ""),
        ("photos", ""),
    ],
)
def test_a_name_tells_whatever_its_spelling_and_its_folder(spec: str, shown: str) -> None:
    assert directed(source(spec)) == shown


def test_a_known_name_outweighs_the_classes() -> None:
    assert directed(source("fashion-mnist", DIGITS, grey=True)) == ""
    assert directed(source("unknown", DIGITS, grey=True)) == "digits"


@pytest.mark.parametrize(
    ("classes", "shown"),
    [
        (("turn left", "stop", "turn right"), "classes such as turn left and turn right"),
        (("Right_Hand", "LEFT_hand"), "classes such as left_hand and right_hand"),
        (("left",), ""),
        (("left", "up"), ""),
        (("lefty", "righty"), ""),
        (("cleft", "cright"), ""),
        (tuple(string.ascii_uppercase[:MANY]), "letters"),
        ((*DIGITS, "a"), "letters"),
        (tuple(string.ascii_uppercase[: MANY - 1]), ""),
        ((*string.ascii_uppercase, "none"), ""),
        (tuple("+-*/=<>()[]"), ""),
    ],
)
def test_classes_tell(classes: tuple[str, ...], shown: str) -> None:
    assert directed(source("photos", classes)) == shown


def test_numbered_classes_are_digits_where_the_images_are_grey() -> None:
    assert directed(source("photos", DIGITS, grey=True)) == "digits"
    assert directed(source("photos", DIGITS)) == ""
    grey = np.repeat(drawn(4, px=4, channels=1).images, 3, axis=3)  # kept in three channels
    assert directed(ArraySource(grey, np.arange(4), classes=DIGITS, spec="photos")) == "digits"
    grey[2, 0, 0] = (1, 2, 3)
    assert directed(ArraySource(grey, np.arange(4), classes=DIGITS, spec="photos")) == ""


def test_images_that_cannot_be_looked_at_are_no_handwriting() -> None:
    class Torn(ArraySource):
        def __getitem__(self, i: int) -> Any:
            raise ImageError(f"image {i} cannot be decoded")

    found = drawn(4, px=4)
    assert directed(Torn(found.images, found.labels, classes=DIGITS, spec="photos")) == ""


@pytest.mark.parametrize("mode", MODES)
def test_nothing_with_a_direction_is_mirrored_unasked(mode: str) -> None:
    usual = TrainConfig(mode=mode).augmentation
    for spec in ("mnist", "cifar10"):
        found = augmentation_of(TrainConfig(mode=mode), source(spec))
        mirrors = usual in MIRRORING and spec == "mnist"
        assert found.kind == ("crop" if mirrors else usual)
        assert bool(found.why) is mirrors
        assert not found.misleads
        assert not mirrors or f"unless by --augment {usual}" in found.why


@pytest.mark.parametrize("asked", AUGMENTS)
def test_what_is_asked_for_is_done_and_told_to_mislead_where_it_mirrors(asked: str) -> None:
    config = TrainConfig(augment=asked)
    assert augmentation_of(config, source("cifar10")) == Augmentation(asked)  # type: ignore[arg-type]
    found = augmentation_of(config, source("mnist"))
    assert found.kind == asked
    assert found.misleads is (asked in MIRRORING)
    instead = {"flip": "none", "crop-flip": "crop", "trivial": "crop", "randaugment": "crop"}
    said = f"augmentation {asked} mirrors digits, which have a direction: {instead.get(asked)} does not"
    assert found.why == (said if asked in MIRRORING else "")
