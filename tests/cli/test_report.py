"""``featx report`` on run folders written by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from programs import PROGRAM

IDS = ("20260102-030405-fit-a1b2", "20260102-030406-train-c3d4")


def write_run(home: Path, name: str, **fields: Any) -> Path:
    folder = home / "runs" / name
    folder.mkdir(parents=True)
    record = {
        "id": name,
        "kind": name.split("-")[2],
        "source": "digits",
        "backbone": "resnet18",
        "accuracy": {"train": 1.0, "val": 0.9, "test": 0.95},
        "seconds": {"total": 1.5},
        "seed": 0,
    }
    (folder / "run.json").write_text(json.dumps({**record, **fields}))
    return folder


@pytest.fixture
def runs(home: Path) -> tuple[Path, ...]:
    return write_run(home, IDS[0], layer="layer3:avg", C=1.0), write_run(home, IDS[1], mode="frozen", epochs=2)


def test_all_runs_are_shown_oldest_first(featx: Any, runs: Any) -> None:
    result = featx("report")
    assert result.exit_code == 0
    shown = [line.split()[0] for line in result.stdout.splitlines() if line.startswith("2026")]
    assert shown == list(IDS)


def test_runs_are_named_by_id_beginning_or_folder_in_the_order_given(featx_json: Any, runs: Any) -> None:
    code, document = featx_json("report", runs[1], IDS[0][:15])
    assert code == 0
    assert [row["run"] for row in document["rows"]] == [IDS[1], IDS[0]]
    assert document["rows"][1]["accuracy"] == {"train": 1.0, "val": 0.9, "test": 0.95}


def test_json_option_and_json_format_are_the_same(featx: Any, runs: Any) -> None:
    assert featx("report", "--format", "json").stdout == featx("report", "--json").stdout


def test_markdown_format(featx: Any, runs: Any) -> None:
    lines = featx("report", "--format", "md").stdout.splitlines()
    assert lines[:2] == ["Same for all 2: source digits; seed 0; backbone resnet18.", ""]
    tables = [line for line in lines[2:] if line]
    assert all(line.startswith("| ") and line.endswith(" |") for line in tables)
    # Head, rule and a row a run, of as many tables as a page needs.
    assert [line.startswith("| ---") for line in tables] == [False, True, False, False] * (len(tables) // 4) != []


@pytest.mark.parametrize("style", ["text", "md", "json"])
def test_output_holds_what_would_have_been_printed(featx: Any, runs: Any, tmp_path: Path, style: str) -> None:
    printed = featx("report", "--format", style).stdout
    target = tmp_path / "report"
    result = featx("report", "--format", style, "--output", target)
    assert result.exit_code == 0
    assert target.read_text() == printed
    assert result.stdout == f"wrote {target}, 2 runs\n"


def test_output_under_json_prints_the_document_too(featx: Any, runs: Any, tmp_path: Path) -> None:
    target = tmp_path / "report.md"
    result = featx("report", "--format", "md", "--output", target, "--json")
    assert len(json.loads(result.stdout)["rows"]) == 2
    assert "| layer | mode |" in target.read_text()


def test_output_that_cannot_be_written_is_an_error(featx: Any, runs: Any, tmp_path: Path) -> None:
    result = featx("report", "--output", tmp_path / "none" / "report.md")
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("args", [(), ("--json",)])
def test_no_runs_is_an_error_that_tells_how_to_make_one(featx: Any, home: Path, args: tuple[str, ...]) -> None:
    result = featx("report", *args)
    assert result.exit_code == 1
    assert "featx fit" in (json.loads(result.stdout)["hint"] if args else result.stderr)
    assert not home.exists()


def test_unknown_run_is_a_usage_error(featx: Any, runs: Any) -> None:
    result = featx("report", "20990101")
    assert result.exit_code == 2
    assert result.stdout == ""


def test_damaged_record_is_left_out_of_all_runs_and_is_an_error_when_named(featx: Any, runs: Any) -> None:
    (runs[0] / "run.json").write_text("{")
    result = featx("report")
    assert result.exit_code == 0
    assert IDS[1] in result.stdout
    assert IDS[0] not in result.stdout
    assert IDS[0] in result.stderr
    assert featx("report", IDS[0]).exit_code == 4


def test_record_of_odd_types_is_shown_all_the_same(featx: Any, home: Path) -> None:
    write_run(home, IDS[0], accuracy=[1], seconds=None, C={"a": 1}, source=3, layer=["x"], images="many")
    record = write_run(home, IDS[1]) / "run.json"
    record.write_text(record.read_text().replace("1.5", "1e999"))
    for style in ("text", "md", "latex", "csv", "json"):
        assert featx("report", "--format", style).exit_code == 0


def test_report_in_a_pipe_is_plain_and_fits_80_columns(shell: Any, runs: Any) -> None:
    result = shell(*PROGRAM, "report", env={"FORCE_COLOR": "1"})
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


HISTORY = [{"epoch": 1 + i, "train_loss": 2.0 - i, "train_accuracy": 0.3 * i} for i in range(2)]


def test_trainings_are_drawn_over_each_other(featx: Any, home: Path, runs: Any, tmp_path: Path) -> None:
    write_run(home, "20260102-030407-train-0001", mode="scratch", history=HISTORY)
    write_run(home, "20260102-030408-train-0002", mode="scratch", seed=1, history=HISTORY)
    write_run(home, "20260102-030409-train-0003", history=[{"epoch": "<b>"}])
    picture = tmp_path / "curves.svg"
    result = featx("report", "--curves", picture)
    assert result.exit_code == 0, result.stderr
    assert "2 trainings" in result.stderr
    assert picture.read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(("name", "said"), [("curves.jpg", ".png, .svg or .pdf"), ("curves.png", "history to draw")])
def test_curves_that_cannot_be_drawn_are_refused(featx: Any, runs: Any, tmp_path: Path, name: str, said: str) -> None:
    result = featx("report", "--curves", tmp_path / name)
    assert result.exit_code == 2
    assert re.search(said, result.stderr)
    assert not (tmp_path / name).exists()


def test_what_is_doubtful_stands_below_the_table_and_in_the_document(featx: Any, featx_json: Any, home: Path) -> None:
    write_run(home, IDS[0], layer="layer3:avg", shared_with_test=3)
    write_run(home, IDS[1], mode="frozen", source="photos.zip")
    for style in ("text", "md", "latex"):
        shown = featx("report", "--format", style).stdout
        assert "leaked-rows: " in shown, style
        assert "not-comparable: " in shown, style
    assert "leaked-rows" not in featx("report", "--format", "csv").stdout
    assert "leaked-rows" not in featx("report", "--columns", "layer").stdout
    _, document = featx_json("report")
    assert {check["code"]: check["rows"] for check in document["checks"]} == {"not-comparable": [1], "leaked-rows": [0]}
    assert all(check["says"] and check["remedy"] for check in document["checks"])
    _, document = featx_json("report", "--columns", "layer")
    assert set(document) == {"rows"}
