"""``featx extract``: what it says, what it writes, how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

DIGITS = ("extract", "digits", "-b", "lenet5", "--weights", "random:0", "--limit", "20", "--device", "cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of four images, one of which is cut short."""
    folder = tmp_path / "photos"
    for i in range(4):
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:100])
    return folder


def test_json_holds_what_was_computed(featx_json: Any) -> None:
    code, document = featx_json(*DIGITS, "-l", "conv2:avg", "-l", "conv1:avg")
    assert code == 0
    assert [entry["layer"] for entry in document["layers"]] == ["conv2:avg", "conv1:avg"]
    first = document["layers"][0]
    assert (first["rows"], first["columns"], first["computed"], first["reused"]) == (20, 16, 20, 0)
    assert Path(first["path"]).is_dir()
    assert document["images_per_second"] > 0
    assert document["skipped"] == []
    assert {"device", "precision", "seconds"} <= set(document)


def test_second_call_says_that_everything_was_reused(featx: Any) -> None:
    assert "images/s" in featx(*DIGITS, "-l", "conv1:avg").stdout
    result = featx(*DIGITS, "-l", "conv1:avg")
    assert result.exit_code == 0
    assert "reused everything" in result.stdout
    assert "images/s" not in result.stdout


def test_output_file_holds_the_features(featx_json: Any, tmp_path: Path) -> None:
    target = tmp_path / "out.h5"
    code, document = featx_json(*DIGITS, "-l", "conv1:avg", "-o", target)
    assert code == 0
    assert document["output"] == str(target)
    assert document["output_bytes"] == target.stat().st_size
    with h5py.File(target) as file:
        split = document["layers"][0]["split"]
        assert file[split]["conv1:avg"].shape == (20, 6)


def test_impossible_output_is_found_before_any_work(featx: Any, home: Path, tmp_path: Path) -> None:
    result = featx(*DIGITS, "-l", "conv1:avg", "-o", tmp_path / "none" / "out.h5")
    assert result.exit_code == 2
    assert not home.exists()


def test_skipped_images_are_named_and_exit_with_3(featx: Any, featx_json: Any, photos: Path) -> None:
    args = (
        "extract",
        photos,
        "-b",
        "lenet5",
        "--weights",
        "random:0",
        "-l",
        "conv1:avg",
        "--on-error",
        "skip",
    )
    result = featx(*args)
    assert result.exit_code == 3, result.stderr
    assert "skipped b/3.png" in result.stdout
    code, document = featx_json(*args)
    assert code == 3
    assert [image["id"] for image in document["skipped"]] == ["b/3.png"]


def test_broken_image_is_an_error_that_names_it(featx: Any, photos: Path) -> None:
    result = featx("extract", photos, "-b", "lenet5", "--weights", "random:0", "-l", "conv1:avg")
    assert result.exit_code == 1
    assert "b/3.png" in result.stderr


def test_unknown_split_and_layer_are_usage_errors(featx: Any) -> None:
    result = featx(*DIGITS, "-l", "conv1", "--split", "trian")
    assert result.exit_code == 2
    assert "there is no split 'trian', expected one of: all\n" in result.stderr
    result = featx(*DIGITS, "-l", "cnv1")
    assert result.exit_code == 2
    assert "did you mean" in result.stderr
    assert "conv1" in result.stderr


def test_resize_none_and_a_size_exclude_each_other(featx: Any) -> None:
    result = featx(
        "extract", "digits", "-b", "lenet5", "--weights", "random:0", "-l", "fc1", "--resize", "none", "--size", 32
    )
    assert result.exit_code == 2
    assert "--resize none" in result.stderr


def test_network_of_ones_own_and_a_pattern(featx_json: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "print('noise')\nfrom torch import nn\ndef make(): return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())\n"
    (tmp_path / "net.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    asked = ("extract", "digits", "-b", "net.py:make", "--size", "8", "--limit", "4", "--device", "cpu", "-l", "?:avg")
    code, document = featx_json(*asked)
    assert code == 0
    assert [(e["layer"], e["columns"], e["computed"]) for e in document["layers"]] == [("0:avg", 2, 4), ("1:avg", 2, 4)]
    code, document = featx_json(*asked[:-1], "x*")
    assert (code, document["kind"]) == (2, "OptionError")
    assert "no layer matches 'x*'" in document["error"]
