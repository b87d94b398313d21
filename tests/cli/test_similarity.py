"""``featx similarity``: what it says, what it draws, which rows and layers it compares, how it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featx.audit.similarity import similarity
from featx.cache.store import FeatureStore

LENET = ("-b", "lenet5", "--weights", "random:0", "--device", "cpu")
DIGITS = ("similarity", "digits", *LENET, "--limit", "40")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of so many images by split, all different or all black."""

    def make(counts: dict[str, int], black: bool = False) -> Path:
        for split, count in counts.items():
            for i in range(count):
                path = tmp_path / "photos" / split / "ab"[i % 2] / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = np.random.default_rng([i, len(split)]).integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(noise * (not black)).save(path)
        return tmp_path / "photos"

    return make


def test_json_holds_what_the_library_says_of_the_stored_features(featx_json: Any, home: Path) -> None:
    code, document = featx_json(*DIGITS, "-l", "pool*", "-l", "fc1", "--sample", 20, "--seed", 3)
    assert code == 0
    assert document["names"] == ["pool1", "pool2", "fc1"]
    assert (document["rows"], document["sample"], document["neighbours"]) == (40, 20, 10)
    assert (document["computed"], document["reused"], document["rows_left_out"]) == (120, 0, 0)
    store = FeatureStore(home)
    stored = {entry.layer: store.open(entry.digest).X for entry in store.ls()}
    found = similarity({name: stored[name] for name in document["names"]}, sample=20, seed=3).as_dict()
    assert {name: document[name] for name in found} == found
    again = featx_json(*DIGITS, "-l", "pool*", "-l", "fc1", "--sample", 20, "--seed", 3)[1]
    assert (again["computed"], again["reused"]) == (0, 120)
    assert again["cka"] == document["cka"]


def test_people_see_five_matrices_and_what_is_chance(featx: Any) -> None:
    result = featx(*DIGITS, "-l", "conv1:avg", "-l", "fc1", "--neighbours", 5)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "2 layers, 40 rows"
    assert sum(line.startswith("1  conv1:avg  1.000  ") for line in lines) == 5
    titles = [line for line in lines if line.endswith(":")]
    assert titles[0] == "linear CKA, unbiased estimate:"
    assert titles[1].startswith("linear CKA, biased estimate; with one layer's rows shuffled it still is 0.")
    assert titles[4] == "mutual 5-nearest neighbours of 40 rows, 0.128 by chance:"


def test_the_map_is_drawn(featx: Any, tmp_path: Path) -> None:
    for name, first in (("map.png", b"\x89PNG"), ("map.svg", b"<?xml")):
        result = featx(*DIGITS, "-l", "pool*", "-o", tmp_path / name)
        assert result.exit_code == 0, result.stderr
        assert f"wrote {tmp_path / name}" in result.stdout
        assert (tmp_path / name).read_bytes().startswith(first)


def test_what_cannot_be_done_is_told_before_any_work(featx: Any, home: Path, tmp_path: Path) -> None:
    for more, said in (
        (("-l", "fc1", "-o", tmp_path / "map.gif"), "map.gif"),
        (("-l", "fc1", "-o", tmp_path / "map"), ".png, .svg or .pdf"),
        (("-l", "fc1", "-o", tmp_path / "none" / "map.png"), "does not exist"),
        (("-b", "resnet18", "-b", "lenet5", "-l", "fc1", "--weights", "random:1"), "2 times for 3 networks"),
        (("-l", "fc1", "--sample", 9999), "9999"),
        (("-l", "fc1"), "one layer was given to compare"),
    ):
        result = featx(*DIGITS, *more)
        assert result.exit_code == 2, result.output
        assert said in result.stderr
    assert not home.exists()


def test_networks_that_differ_in_weights_are_named_by_them(featx_json: Any) -> None:
    code, document = featx_json(*DIGITS, "--weights", "random:1", "-l", "fc1", "-l", "pool2")
    assert code == 0
    assert document["names"] == ["random:0 fc1", "random:0 pool2", "random:1 fc1", "random:1 pool2"]
    assert document["cka"][0][2] < 1


def test_each_network_gives_the_layers_that_it_has(featx: Any, featx_json: Any) -> None:
    asked = (*DIGITS, "-b", "pixels", "-l", "fc1", "-l", "pixels")
    code, document = featx_json(*asked)
    assert code == 0
    assert document["names"] == ["lenet5 fc1", "pixels"]
    result = featx(*asked)
    assert "pixels is compared without fc1: there is no layer 'fc1'" in result.stderr
    result = featx(*asked, "-l", "fc9")
    assert result.exit_code == 2
    assert "fc9" in result.stderr
    result = featx(*asked[:-4], "-l", "fc1", "-l", "fc2")
    assert result.exit_code == 2
    assert "pixels has none of the layers fc1, fc2" in result.stderr


def test_skipped_images_are_left_out_of_all_layers_and_counted(
    featx: Any, featx_json: Any, photos: Callable[..., Path]
) -> None:
    folder = photos({"": 9})
    (folder / "a" / "0.png").write_bytes((folder / "a" / "0.png").read_bytes()[:100])
    asked = ("similarity", folder, *LENET, "-l", "pool*")
    assert featx(*asked).exit_code == 1
    result = featx(*asked, "--on-error", "skip")
    assert result.exit_code == 3
    assert "1 row was left out of all layers" in result.stdout
    code, document = featx_json(*asked, "--on-error", "skip")
    assert (code, document["rows"], document["rows_left_out"]) == (3, 8, 1)
    assert [image["id"] for image in document["skipped"]] == ["a/0.png"]


def test_splits_are_compared_together_or_one_alone(featx_json: Any, photos: Callable[..., Path]) -> None:
    asked = ("similarity", photos({"train": 8, "test": 6}), *LENET, "-l", "pool*")
    assert featx_json(*asked)[1]["splits"] == {"train": 8, "test": 6}
    document = featx_json(*asked, "--split", "test")[1]
    assert (document["rows"], document["splits"]) == (6, {"test": 6})


def test_layers_that_are_constant_are_null_and_named(featx: Any, featx_json: Any, photos: Callable[..., Path]) -> None:
    asked = ("similarity", photos({"": 6}, black=True), *LENET, "-l", "pool*")
    code, document = featx_json(*asked)
    assert code == 0
    assert document["undefined"] == dict.fromkeys(["pool1", "pool2"], "constant: all rows are equal")
    for matrix in (document["cka"], document["biased"], document["rsa"]["spearman"], document["knn"]):
        assert matrix == [[None, None], [None, None]]
    result = featx(*asked)
    assert "pool1 is similar to nothing" in result.stderr
    assert "6 rows are compared: 4 are used" in result.stderr


def test_fewer_than_four_rows_are_refused(featx: Any) -> None:
    result = featx("similarity", "digits", *LENET, "--limit", 3, "-l", "pool*")
    assert result.exit_code == 2
    assert "3 row(s), expected 4 or more" in result.stderr
