"""``featx predict RUN --mistakes``: what a run got wrong on its own test images, without the images."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.core.run_folder import Run, Runs
from featx.data.sources import load_source
from featx.reports.predictions import load_predictions

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run(featx: Any, home: Path, tmp_path: Path) -> Run:
    """Fit on some digits whose source is then gone."""
    digits = load_source("digits")
    path = tmp_path / "some.npz"
    np.savez(path, X=np.stack([digits[i][0] for i in range(400)]), y=digits.labels[:400])
    assert featx("fit", path, "--pixels", "--C", "0.001").exit_code == 0
    path.unlink()
    shutil.rmtree(home / "features")
    return Runs(home).list()[0]


def test_the_misclassified_images_are_those_of_the_runs_own_predictions(featx: Any, run: Run, tmp_path: Path) -> None:
    target = tmp_path / "wrong.csv"
    result = featx("predict", run.id, "--mistakes", target)
    assert result.exit_code == 0, result.stderr
    kept = load_predictions(run)
    wrong = int((kept["labels"] != kept["predicted"]).sum())
    assert 0 < wrong < len(kept["labels"])
    assert f"{wrong} of {len(kept['labels'])} test images wrong" in result.stdout
    lines = list(csv.DictReader(target.read_text().splitlines()))
    assert len(lines) == wrong
    assert all(line["label"] != line["predicted"] for line in lines)
    assert [float(line["probability"]) for line in lines] == sorted(
        (float(line["probability"]) for line in lines), reverse=True
    )


def test_json_has_them_too(featx_json: Any, run: Run, tmp_path: Path) -> None:
    target = tmp_path / "wrong.csv"
    code, document = featx_json("predict", run.id, "--mistakes", target)
    assert code == 0
    assert document["run"] == run.id
    assert document["path"] == str(target)
    assert document["images"] == run.read()["rows"]["test"]
    assert len(document["mistakes"]) == len(target.read_text().splitlines()) - 1
    assert set(document["mistakes"][0]) == {"id", "label", "predicted", "probability"}


@pytest.mark.parametrize(
    ("more", "said"), [(("digits",), "own test images"), (("--top", 3), "--top would have no effect beside --mistakes")]
)
def test_what_would_have_no_effect_is_refused(featx: Any, run: Run, tmp_path: Path, more: Any, said: str) -> None:
    target = tmp_path / "wrong.csv"
    result = featx("predict", run.id, *more, "--mistakes", target)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not target.exists()


def test_a_run_of_earlier_featx_is_an_error_of_one_line(featx: Any, run: Run, tmp_path: Path) -> None:
    (run.path / "predictions.csv").unlink()
    result = featx("predict", run.id, "--mistakes", tmp_path / "wrong.csv")
    assert result.exit_code == 1
    error, hint = result.stderr.strip().splitlines()
    assert "has no predictions.csv" in error
    assert "run its command again" in hint
    assert not (tmp_path / "wrong.csv").exists()


def test_without_images_and_without_the_option_there_is_nothing_to_predict(featx: Any, run: Run) -> None:
    result = featx("predict", run.id)
    assert result.exit_code == 2
    assert "no image was given" in result.stderr
    assert "--mistakes" in result.stderr
