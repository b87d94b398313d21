"""Classes that training, validation or test rows have no images of are named, wherever the scores are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from featx.cli.main import cli
from featx.core.run_folder import Runs

pytestmark = pytest.mark.usefixtures("one_thread")

NET = ("-b", "lenet5", "--weights", "random:0", "-l", "pool2:avg", "--device", "cpu")
SCRATCH = ("-b", "lenet5", "--mode", "scratch", "--epochs", "1", "--device", "cpu")


def featx(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def featx_json(*args: object) -> Any:
    return json.loads(featx(*args, "--json").stdout)


@pytest.fixture
def rare(tmp_path: Path, fill: Any) -> Path:
    """Two classes, and two more of one image each."""
    names = [f"{c}/{i}.png" for c in ("cat", "dog") for i in range(10)]
    folder: Path = fill(tmp_path / "rare", [*names, "yak/0.png", "zebra/0.png"])
    return folder


@pytest.mark.parametrize("command", [("fit", NET), ("train", SCRATCH)], ids=lambda command: command[0])
def test_a_class_of_one_image_is_named_beside_the_scores(rare: Path, command: tuple[str, Any]) -> None:
    name, how = command
    result = featx(name, rare, *how)
    assert result.exit_code == 0, result.stderr
    said = "2 of 4 classes have no validation or test images: yak, zebra"
    assert said in result.stdout
    assert f"warning: {said}" in result.stderr
    assert said in featx(name, rare, *how, "--quiet").stdout


@pytest.mark.parametrize("command", [("fit", NET), ("train", SCRATCH)], ids=lambda command: command[0])
def test_it_stands_in_the_document_and_in_the_record(rare: Path, command: tuple[str, Any]) -> None:
    name, how = command
    document = featx_json(name, rare, *how)
    assert document["missing_classes"] == {"val": ["yak", "zebra"], "test": ["yak", "zebra"]}
    (run,) = Runs(Path(document["path"]).parents[1]).list()
    assert run.read()["missing_classes"] == document["missing_classes"]


def test_reports_say_it_in_every_format(rare: Path) -> None:
    featx("fit", rare, *NET)
    featx("fit", "digits", "--pixels", "--limit", "300", "--device", "cpu")
    run = featx_json("report")["rows"][0]["run"]
    for style in ("text", "md", "latex", "csv"):
        said = " ".join(featx("report", "--format", style).stdout.split())
        assert "2 classes have no validation or test images: yak, zebra" in said
    assert f"yak, zebra ({run})" in " ".join(featx("report").stdout.split())
    rows = featx_json("report")["rows"]
    assert [row["missing_classes"] for row in rows] == [{"val": ["yak", "zebra"], "test": ["yak", "zebra"]}, {}]


def test_over_seeds_what_any_run_lacked_is_missing(tmp_path: Path, fill: Any) -> None:
    names = [f"test/{c}/{i}.png" for c in "ab" for i in range(2)] + [
        f"train/{c}/{i}.png" for c in "abc" for i in range(9)
    ]
    lacking = fill(tmp_path / "lacking", names)
    runs = [featx_json("fit", lacking, *NET, "--seed", seed) for seed in (0, 1)]
    assert [run["missing_classes"] for run in runs] == [{"test": ["c"]}] * 2
    together = featx_json("report", "--over-seeds", *(run["run"] for run in runs))["rows"]
    assert {name for row in together for name in row["missing_classes"]["test"]} == {"c"}


def test_a_class_that_is_only_tested_and_one_that_is_only_taught_are_named(tmp_path: Path, fill: Any) -> None:
    names = [f"train/{c}/{i}.png" for c in "abc" for i in range(8)] + [
        f"test/{c}/{i}.png" for c in "abd" for i in range(2)
    ]
    folder = fill(tmp_path / "split", names)
    document = featx_json("fit", folder, *NET)
    assert document["missing_classes"] == {"train": ["d"], "val": ["d"], "test": ["c"]}
    said = featx("fit", folder, *NET).stdout
    assert "1 of 4 classes have no training or validation images: d" in said
    assert "1 of 4 classes have no test images: c" in said


def test_a_class_whose_images_cannot_be_read_is_missing_too(rare: Path) -> None:
    for i in range(10):
        (rare / f"dog/{i}.png").write_bytes(b"no image")
    result = featx("fit", rare, *NET, "--on-error", "skip", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["missing_classes"]["train"] == ["dog"]


def test_many_are_named_up_to_ten_and_all_in_the_document(tmp_path: Path, fill: Any) -> None:
    rare = [f"rare{i:02d}" for i in range(14)]
    folder = fill(tmp_path / "many", [*(f"{c}/{i}.png" for c in "ab" for i in range(9)), *(f"{c}/0.png" for c in rare)])
    result = featx("fit", folder, *NET)
    assert f"14 of 16 classes have no validation or test images: {', '.join(rare[:10])} and 4 more" in result.stdout
    assert featx_json("fit", folder, *NET)["missing_classes"]["test"] == rare


def test_nothing_is_said_where_nothing_is_missing(tmp_path: Path, fill: Any) -> None:
    folder = fill(tmp_path / "fine", [f"{c}/{i}.png" for c in "ab" for i in range(9)])
    result = featx("fit", folder, *NET)
    assert "no validation" not in result.stdout + result.stderr
    assert featx_json("fit", folder, *NET)["missing_classes"] == {}
