"""``featx report`` with ``--differences``, ``--leaks`` and ``--intervals images``, in every format."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from predicting import predicting

from featx.core.run_folder import Runs

N = 400


@pytest.fixture
def runs(home: Path) -> list[str]:
    hard = np.random.default_rng(0).random(N)
    return [predicting(home, hard < share, losses=hard * (2 - share))[0]["run"] for share in (0.7, 0.71, 0.9)]


def test_pairs_are_shown_with_what_is_beyond_chance(featx: Any, featx_json: Any, runs: list[str]) -> None:
    shown = featx("report", "--differences", "accuracy")
    assert shown.exit_code == 0
    assert "2 of 3 pairs are clear" in shown.stdout
    assert "exact McNemar" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    code, document = featx_json("report", "--differences", "accuracy")
    assert code == 0
    told = {(pair["first"], pair["second"]): pair["beyond_chance"] for pair in document["differences"]}
    assert told == {(runs[2], runs[1]): True, (runs[2], runs[0]): True, (runs[1], runs[0]): False}


def test_csv_has_a_line_a_pair_and_other_formats_the_same_pairs(featx: Any, runs: list[str]) -> None:
    lines = [*csv.DictReader(io.StringIO(featx("report", "--differences", "loss", "--format", "csv").stdout))]
    assert [line["covers"] for line in lines] == ["test images"] * 3
    assert float(lines[0]["images_low"]) <= float(lines[0]["difference"]) <= float(lines[0]["images_high"])
    for style in ("md", "latex", "html"):
        text = featx("report", "--differences", "loss", "--format", style).stdout
        assert text.count("3 - 2") == text.count("2 - 1") == 1


@pytest.mark.parametrize("style", ["text", "md", "latex", "csv", "html", "json"])
def test_intervals_over_images_are_in_every_format(featx: Any, runs: list[str], style: str) -> None:
    plain = featx("report", "--format", style).stdout
    with_images = featx("report", "--format", style, "--intervals", "images").stdout
    mark = "over_images" if style == "json" else r"over images"
    # The page's table of differences has a column of that name anyway.
    assert with_images.count(mark) > plain.count(mark)


def test_a_column_of_intervals_over_images_brings_them(featx: Any, runs: list[str]) -> None:
    shown = featx("report", "--columns", "run,test_accuracy_over_images").stdout
    assert shown.count(" to ") == 3


@pytest.mark.parametrize(
    "more", [("--columns", "run"), ("--intervals", "images"), ("--confusion",)], ids=lambda more: more[0]
)
def test_what_does_not_go_with_differences_is_refused(featx: Any, runs: list[str], more: tuple[str, ...]) -> None:
    result = featx("report", runs[0], "--differences", "accuracy", *more)
    assert result.exit_code == 2
    assert more[0] in result.stderr


def test_the_check_heeds_how_many_pairs_there_are(featx: Any, home: Path) -> None:
    """The best two, whose own interval excludes 0, are not told apart among the ten pairs of five rows."""
    better = np.arange(N) < 360
    predicting(home, better)
    for at, lost in enumerate((13, 14, 15, 16)):  # 13 against 3: p = 0.02
        other = better.copy()
        other[20 * at : 20 * at + lost], other[360 + 3 * at : 363 + 3 * at] = False, True
        predicting(home, other)
    shown = " ".join(featx("report").stdout.split())
    assert "interval-too-wide" in shown
    assert "+0.0250, +0.00" in shown
    assert "by Holm among 10 pairs" in shown


@pytest.fixture
def leaks(home: Path, runs: list[str]) -> Path:
    """A list by which 40 of the runs' test images are like a training image."""
    for run in runs:
        lines = [f"{i}.png,a,a," for i in range(N)]
        (home / "runs" / run / "predictions.csv").write_text("\n".join(["id,label,predicted,probability", *lines]))
    pairs = [f"train,t{i}.png,near,0.9,test,{i}.png,leave the train image out" for i in range(40)]
    path = home / "findings.csv"
    path.write_text("\n".join(["split,id,kind,score,other_split,other_id,remedy", *pairs]))
    return path


def test_scores_without_leaked_images_are_in_every_format(
    featx: Any, featx_json: Any, runs: list[str], leaks: Path
) -> None:
    shown = featx("report", "--leaks", leaks)
    assert shown.exit_code == 0
    assert "without leaked" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    code, document = featx_json("report", "--leaks", leaks)
    assert code == 0
    assert {one["run"] for one in document["without_leaks"]} == set(runs)
    assert {one["leaked"] for one in document["without_leaks"]} == {40}
    lines = [*csv.DictReader(io.StringIO(featx("report", "--leaks", leaks, "--format", "csv").stdout))]
    assert [float(line["on_all"]) for line in lines] == [one["on_all"] for one in document["without_leaks"]]
    for style in ("md", "latex", "html"):
        assert "without leaked" in featx("report", "--leaks", leaks, "--format", style).stdout
    assert len(featx("report", "--leaks", leaks, "--over-seeds", "--format", "csv").stdout.splitlines()) >= 3


def test_what_a_run_left_out_is_said_beside_its_scores(
    featx: Any, featx_json: Any, home: Path, runs: list[str], leaks: Path
) -> None:
    run = Runs(home).open(runs[0])
    run.write({**run.read(), "excluded_rows": {"train": 40}})
    assert "40 of train" in featx("report", "--leaks", leaks).stdout
    _, document = featx_json("report", "--leaks", leaks)
    assert {one["run"]: one["excluded_rows"] for one in document["without_leaks"]}[runs[0]] == {"train": 40}


def test_a_list_that_tells_no_leaks_is_an_answer_and_no_list_is_an_error(
    featx: Any, runs: list[str], leaks: Path
) -> None:
    leaks.write_text("split,id,kind,score,other_split,other_id,remedy\n")
    shown = featx("report", "--leaks", leaks)
    assert shown.exit_code == 0
    assert "none of their test images leaked" in " ".join(shown.stdout.split())
    leaks.unlink()
    missing = featx("report", "--leaks", leaks)
    assert missing.exit_code == 2
    assert "featx audit" in missing.stderr
    both = featx("report", "--leaks", leaks, "--differences", "accuracy")
    assert both.exit_code == 2
    assert "--leaks" in both.stderr
