"""``featx audit`` on a folder with planted leaks, and its findings given back with --exclude."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from command import document, featx, folder_of
from PIL import Image
from textures import CHANGES, texture

CLASSES = ("cat", "dog & <b>bird</b>")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 images to learn from, 20 to test; three of these are images to learn from, shown again."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 10)):
        for kind in CLASSES:
            (folder / split / kind).mkdir(parents=True)
            for i in range(count):
                texture(rng).save(folder / split / kind / f"{i:02d}.png")
    cats, tested = folder / "train" / "cat", folder / "test" / "cat"
    (tested / "exact.png").write_bytes((cats / "03.png").read_bytes())
    Image.open(cats / "04.png").save(tested / "pixels.bmp")
    CHANGES["mirror"](Image.open(cats / "05.png")).save(tested / "mirror.png")
    (cats / "copy.png").write_bytes((cats / "06.png").read_bytes())
    return folder


def test_leaks_are_found_told_and_can_be_left_out(photos: Path, tmp_path: Path) -> None:
    page, findings = tmp_path / "audit.html", tmp_path / "findings.csv"
    found = document("audit", photos, "-o", page, "-o", findings)
    leaks = [(leak["kind"], {(leak["split_a"], leak["a"]), (leak["split_b"], leak["b"])}) for leak in found["leaks"]]
    assert ("exact", {("train", "train/cat/03.png"), ("test", "test/cat/exact.png")}) in leaks
    assert ("exact", {("train", "train/cat/06.png"), ("train", "train/cat/copy.png")}) in leaks
    assert ("same pixels", {("train", "train/cat/04.png"), ("test", "test/cat/pixels.bmp")}) in leaks
    assert ("near", {("train", "train/cat/05.png"), ("test", "test/cat/mirror.png")}) in leaks
    assert len(leaks) == 4
    scores = [leak["score"] for leak in found["leaks"]]
    assert scores == sorted(scores, reverse=True)
    text = page.read_text(encoding="utf-8")
    assert "<b>bird" not in text
    assert "train/cat/05.png" in text
    assert "train <span" not in text  # their ids begin with it
    assert text.count("data:image/png") >= 8

    lines = list(csv.DictReader(findings.read_text(encoding="utf-8").splitlines()))
    dropped = {line["id"] for line in lines if line["kind"] in ("exact", "same pixels", "near")}
    assert dropped == {f"train/cat/{name}.png" for name in ("03", "04", "05", "copy")}
    run = document("fit", photos, "--pixels", "--exclude", findings)
    left_out = sum(line["split"] == "train" for line in lines)
    assert run["excluded_rows"]["train"] == left_out
    assert run["rows"]["train"] + run["rows"]["val"] == 81 - left_out
    assert run["shared_with_test"] == 0
    whole = document("fit", photos, "--pixels")
    assert whole["excluded_rows"] is None
    assert whole["shared_with_test"] == 1
    record = json.loads((folder_of(run["run"]) / "run.json").read_text())
    assert record["identity"] != json.loads((folder_of(whole["run"]) / "run.json").read_text())["identity"]
    assert "excluded-rows" in featx("report", run["run"], whole["run"]).output
    findings.unlink()
    assert featx("rerun", run["run"]).exit_code == 0


def test_scores_with_and_without_leaked_images_and_labels_need_a_network(photos: Path) -> None:
    found = document(
        "audit", photos, "-b", "lenet5", "--weights", "random:0", "--size", "32", "-l", "pool2", "--threshold", "0.8"
    )
    assert found["scores"]["leaked"] >= 2
    assert found["scores"]["rows"] == 23
    assert {"id", "split", "given", "suggested", "confidence"} <= set(found["labels"][0])
    confidences = [issue["confidence"] for issue in found["labels"]]
    assert confidences == sorted(confidences)
    assert found["classes"]
    assert found["outliers"] is not None


def test_for_people_one_page(photos: Path) -> None:
    said = featx("audit", photos)
    assert said.exit_code == 0
    assert "4 pairs of the same image or shot (2 exact, 1 same pixels, 1 near), 3 across splits" in said.output
    assert "labels are not judged without features" in said.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "audit.pdf"), "expected a name ending in .html or .csv"),
        (("-b", "lenet5"), "--backbone was given without --layer"),
        (("-l", "pool1"), "--layer was given without --backbone"),
        (("--threshold", "2"), "threshold"),
    ],
)
def test_what_cannot_be_meant_is_refused(photos: Path, arguments: tuple[str, ...], said: str) -> None:
    result = featx("audit", photos, *arguments)
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize("network", [(), ("-b", "lenet5", "--weights", "random:0", "--size", "32", "-l", "pool1:avg")])
def test_a_broken_file_and_a_class_with_one_image_are_told(tmp_path: Path, network: tuple[str, ...]) -> None:
    rng = np.random.default_rng(1)
    for name in ("many/0", "many/1", "many/2", "many/3", "many/4", "many/5", "one/0"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        texture(rng).save(tmp_path / f"{name}.png")
    (tmp_path / "many" / "broken.png").write_bytes((tmp_path / "many" / "0.png").read_bytes()[:60])
    found = document("audit", tmp_path, *network, "--on-error", "skip", code=3 if network else 0)
    assert [odd["id"] for odd in found["odd"] if odd["kind"] == "broken"] == ["many/broken.png"]
    assert found["classes"]["classes"][1]["rows"] == {"all": 1}
    assert found["leaks"] == []
    assert any("labels are not judged" in line for line in found["notes"])
    # Two images of the fold of which the only one of its class is one, and so nothing but one class to learn.
    assert (found["judged"] or {}).get("unjudged") == (2 if network else None)


def test_beyond_so_many_images_neighbours_are_searched_for_in_cells(photos: Path) -> None:
    exact, some = (document("audit", photos, "--exact-rows", rows) for rows in (200, 50))
    assert exact["neighbours_found"] == 1
    assert 0.5 < some["neighbours_found"] <= 1
    assert any("--exact-rows" in line for line in some["notes"])
    assert not any("--exact-rows" in line for line in exact["notes"])
    assert [leak["kind"] for leak in some["leaks"]] == [leak["kind"] for leak in exact["leaks"]]


def test_images_too_small_to_tell_are_said() -> None:
    found = document("audit", "digits", "--limit", "100")
    assert not [leak for leak in found["leaks"] if leak["kind"] == "near"]
    assert any("smaller than 16 px" in line for line in found["notes"])
