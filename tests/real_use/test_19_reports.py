"""Reports that fit a page, fits that repeat and keep their predictions, confusion matrices."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from featx.cli.main import cli
from featx.core.run_folder import Runs
from featx.reports.predictions import TABLE_FILE

pytestmark = pytest.mark.usefixtures("one_thread")

PIXELS = ("fit", "digits", "--pixels", "--limit", "200", "--device", "cpu")
TRAIN = ("train", "digits", "--limit", "200", "-b", "lenet5", "--mode", "scratch", "--epochs", "1", "--device", "cpu")


def featx(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def document(*args: object) -> Any:
    result = featx(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An .npz with an absolute path, three classes, one of them rare."""
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8), np.uint8)
    labels = np.array(["=cat", "dog|$x", "emu"])[np.r_[np.zeros(40, int), np.ones(20, int), np.full(4, 2)]]
    np.savez(tmp_path / "photos.npz", X=images, y=labels)
    return tmp_path / "photos.npz"


@pytest.mark.parametrize("style", ["md", "latex"])
def test_tables_fit_a_page_name_no_folders_and_say_once_what_is_the_same(photos: Path, style: str) -> None:
    for C in (0.1, 1):
        featx("fit", photos, "--pixels", "--C", C)
    text = featx("report", "--format", style).stdout
    assert str(photos.parent) not in text
    assert max(map(len, text.splitlines())) <= 110
    above, _, table = text.partition("| " if style == "md" else r"\begin{tabular}")
    assert "source photos.npz" in above
    assert "photos.npz" not in table
    heads = next(line for line in table.splitlines() if "accuracy" in line)
    assert heads.count("|" if style == "md" else "&") <= 10
    assert " C " in table


def test_columns_are_chosen_in_every_format(photos: Path) -> None:
    featx("fit", photos, "--pixels")
    names = ("--columns", "source, test accuracy,tol")
    assert featx("report", "--format", "csv", *names).stdout.splitlines()[0] == "source,test accuracy,tol"
    assert featx("report", "--format", "md", *names).stdout.splitlines()[0] == "| source | test accuracy | tol |"
    assert featx("report", *names).stdout.split()[:3] == ["source", "test", "accuracy"]
    (row,) = document("report", *names)["rows"]
    assert list(row) == ["source", "test accuracy", "tol"]
    assert row["tol"] == 3e-5
    wrong = featx("report", "--columns", "sorce")
    assert wrong.exit_code == 2
    assert "did you mean source" in wrong.stderr
    assert featx("report", "--columns", "source,,C").exit_code == 2


@pytest.mark.parametrize("command", [PIXELS, TRAIN])
def test_a_command_runs_once_with_each_seed(command: tuple[str, ...]) -> None:
    found = document(*command, "--seeds", "4,2")
    assert [run["seed"] for run in found["runs"]] == [4, 2]
    scores = [run["accuracy"]["test"] for run in found["runs"]]
    assert found["accuracy"]["test"]["mean"] == pytest.approx(sum(scores) / 2)
    again = document(*command, "--seed", "2", "--repeat", "1")
    assert again["accuracy"] == found["runs"][1]["accuracy"]
    for wrong in (("--seeds", "1,1"), ("--seeds", "a"), ("--seeds", ""), ("--seeds", "1,2", "--repeat", "2"),
                  ("--seeds", "1", "--seed", "0"), ("--repeat", "0"), ("--seeds", "-1")):  # fmt: skip
        assert featx(*command, *wrong).exit_code == 2
    assert len(Runs().list()) == 3


def test_a_fit_repeats_and_tells_mean_and_interval() -> None:
    result = featx(*PIXELS, "--repeat", "3")
    assert result.exit_code == 0, result.stderr
    assert "3 runs, seeds 0, 1, 2" in result.stdout
    assert featx(*PIXELS, "--sweep", "clip", "--repeat", "2", "-o", "map.png").exit_code == 2
    assert len(Runs().list()) == 3


def test_every_run_keeps_what_it_said_of_each_test_image(photos: Path) -> None:
    fit = document("fit", photos, "--pixels")
    svm = document("fit", photos, "--pixels", "--head", "svm")
    train = document(*TRAIN)
    for run in (fit, svm, train):
        with (Path(run["path"]) / TABLE_FILE).open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert list(lines[0]) == ["id", "label", "predicted", "probability"]
        assert len(lines) == run["rows"]["test"]
        right = np.mean([line["label"] == line["predicted"] for line in lines])
        assert right == pytest.approx(run["accuracy"]["test"])
        shares = [line["probability"] for line in lines]
        assert all(not share for share in shares) if run is svm else all(0.1 <= float(s) <= 1 for s in shares)
    text = (Path(fit["path"]) / TABLE_FILE).read_text()
    assert "'=cat" in text
    assert ",=cat" not in text


def test_a_training_is_compared_with_a_fit_image_by_image() -> None:
    fit = document(*PIXELS)
    train = document(*TRAIN, "--against", fit["run"])
    (test,) = train["against"]["tests"]
    assert (test["only_first"] - test["only_second"]) / test["n"] == pytest.approx(
        train["accuracy"]["test"] - fit["accuracy"]["test"]
    )


def test_probabilities_are_those_of_predict() -> None:
    fit = document(*PIXELS)
    said = {one["id"]: one for one in document("predict", fit["run"], "digits")["predictions"]}
    with (Path(fit["path"]) / TABLE_FILE).open(newline="") as file:
        for line in csv.DictReader(file):
            assert said[line["id"]]["classes"][0] == line["predicted"]
            assert said[line["id"]]["probabilities"][0] == pytest.approx(float(line["probability"]), abs=1e-4)


def test_confusion_and_recall_are_printed_and_drawn(photos: Path, tmp_path: Path) -> None:
    run = document("fit", photos, "--pixels")["run"]
    found = document("report", run, "--confusion")
    assert found["part"] == "test"
    assert found["classes"] == ["=cat", "dog|$x", "emu"]
    counts = np.array(found["confusion"])
    assert found["rows"] == counts.sum(axis=1).tolist()
    for share, line, i in zip(found["recall"], counts, range(3), strict=True):
        assert share == (pytest.approx(line[i] / line.sum()) if line.sum() else None)
    text = featx("report", run, "--confusion").stdout
    assert max(map(len, text.splitlines())) <= 80
    assert f"{found['recall'][0]:.4f}" in text
    for kind, begin in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        target = tmp_path / f"confusion.{kind}"
        result = featx("report", run, "--confusion", "-o", target)
        assert result.exit_code == 0, result.stderr
        assert target.read_bytes().startswith(begin)
        assert "recall" in result.stdout
    heads, *lines = csv.reader(io.StringIO(featx("report", run, "--confusion", "--format", "csv").stdout))
    assert heads == ["class", "rows", "recall", "precision", "'=cat", "dog|$x", "emu"]
    assert [[int(n) for n in line[4:]] for line in lines] == counts.tolist()
    assert "dog\\|$x" in featx("report", run, "--confusion", "--format", "md").stdout
    assert r"dog\textbar{}\$x" in featx("report", run, "--confusion", "--format", "latex").stdout


def test_confusion_of_many_classes_is_told_by_class(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (600, 4, 4), np.uint8)
    np.savez(tmp_path / "many.npz", X=images, y=[f"a class named {i % 60}" for i in range(600)])
    run = document("fit", tmp_path / "many.npz", "--pixels", "--max-iter", "5")["run"]
    text = featx("report", run, "--confusion").stdout
    assert "wider than a page" in text
    assert text.count("a class named 59 ") >= 1
    assert featx("report", run, "--confusion", "-o", tmp_path / "many.png").exit_code == 0
    with Image.open(tmp_path / "many.png") as picture:
        assert max(picture.size) < 4000


@pytest.mark.parametrize(
    "wrong",
    [(), ("2", "2"), ("2", "--over-seeds"), ("2", "--columns", "C"), ("2", "--curves", "c.png"), ("2", "-o", "a.jpg")],
)
def test_confusion_is_of_one_run_and_goes_with_nothing_else(wrong: tuple[str, ...]) -> None:
    featx(*PIXELS)
    result = featx("report", *wrong, "--confusion")
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert not Path("a.jpg").exists()


def test_a_table_is_not_written_under_a_pictures_name(tmp_path: Path) -> None:
    featx(*PIXELS)
    result = featx("report", "-o", tmp_path / "a.png")
    assert result.exit_code == 2
    assert "--confusion" in result.stderr
    assert not (tmp_path / "a.png").exists()


@pytest.mark.pictures
def test_curves_are_pdf_too(tmp_path: Path) -> None:
    run = document(*TRAIN)
    assert (Path(run["path"]) / "curves.pdf").read_bytes().startswith(b"%PDF")
    for name in ("curves.pdf", "curves.svg", "curves.PNG"):
        assert featx("report", "--curves", tmp_path / name).exit_code == 0
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")
    assert featx(*PIXELS, "--sweep", "clip", "-o", tmp_path / "sweep.pdf").exit_code == 0
    assert (tmp_path / "sweep.pdf").read_bytes().startswith(b"%PDF")
    before = len(Runs().list())
    assert featx(*PIXELS, "--sweep", "clip", "-o", tmp_path / "sweep.txt").exit_code == 2
    assert len(Runs().list()) == before


def test_letters_that_a_font_lacks_are_told_in_one_line(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    np.savez(tmp_path / "few.npz", X=images, y=np.array(["猫", "$\\frac{"])[np.arange(40) % 2])
    run = document("fit", tmp_path / "few.npz", "--pixels")["run"]
    result = featx("report", run, "--confusion", "-o", tmp_path / "few.png")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == "warning: the figure's font lacks some characters of these names and shows them as boxes\n"
