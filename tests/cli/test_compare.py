"""``featx compare`` as a user runs it: the table, the JSON, another start, and what is mistyped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from featx.cli.main import cli

TINY = ["compare", "digits", "-b", "lenet5", "--weights", "random:0", "--limit", "120", "--epochs", "2", "--seeds", "1"]


def featx(*args: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli, list(args))
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.usefixtures("one_thread")
def test_rows_answer_and_report(tmp_path: Path) -> None:
    file = tmp_path / "out.html"
    args = [*TINY, "--only", "pixels,softmax,scratch", "--json", "--quiet", "-o", str(file)]
    found = json.loads(CliRunner().invoke(cli, args).stdout)
    assert {row["how"].partition(" ")[0] for row in found["rows"]} == {"softmax", "from"}
    for row in found["rows"]:
        assert row["seeds"] == [0]
        assert len(row["runs"]) == 1
        assert row["seconds"] > 0
        assert row["interval"][0] <= row["accuracy"] <= row["interval"][1] <= 1
    assert len(found["answer"]) == 2
    assert found["report"] == str(file)
    assert file.read_text().startswith("<!DOCTYPE html>")
    assert json.loads(CliRunner().invoke(cli, args).stdout)["rows"] == found["rows"]


@pytest.mark.usefixtures("one_thread")
def test_plan_runs_nothing(tmp_path: Path) -> None:
    said = featx(*TINY, "--only", "pixels", "--plan", "--home", str(tmp_path))
    assert "softmax on raw pixels" in said
    assert "of the 30 min" in said
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


@pytest.mark.usefixtures("one_thread")
def test_no_time_at_all() -> None:
    said = featx(*TINY, "--only", "scratch", "--minutes", "0.0001", code=2)
    assert "no row fits" in said
    assert "--minutes" in said


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--only", "fintune"], "did you mean finetune"),
        (["--without", "pixel"], "did you mean pixels"),
        (["-b", "resnet81"], "did you mean"),
        (["-b", "pixels"], "no network to compare with"),
        (["--seeds", "x"], "expected a number such as 3"),
        (["-o", "/nowhere/at/all.html"], "there is no folder"),
    ],
)
def test_mistakes_are_answered(args: list[str], expected: str) -> None:
    result = CliRunner().invoke(cli, ["compare", "digits", *args])
    assert result.exit_code != 0
    assert expected in (result.output or "") + str(result.exception or "")


def test_a_layer_that_is_not_there_and_a_single_class_are_told_before_the_trial(tmp_path: Path) -> None:
    said = featx(*TINY, "-l", "pool9", "--home", str(tmp_path), code=2)
    assert "did you mean pool" in said
    assert "trying" not in said
    for number in range(4):
        Image.new("L", (8, 8), 60 * number).save(make(tmp_path / "one" / "cat") / f"{number}.png")
    said = featx("compare", str(tmp_path / "one"), "-b", "lenet5", "--weights", "random:0", code=1)
    assert "hold one class" in said
    assert "trying" not in said


def make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(home: Path) -> subprocess.Popen[str]:
    args = [*TINY[:-4], "--epochs", "150", "--seeds", "1", "--only", "pixels,scratch", "--json"]
    env = {**os.environ, "FEATX_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from featx.cli.program import run; run()", *args]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def stopped(home: Path, number: signal.Signals, pattern: str) -> int:
    """Start it, send a signal as soon as there is such a file, and return the exit code."""
    process = run(home)
    until = time.monotonic() + 60
    while not any((home / "runs").glob(pattern)) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


def test_killed_and_started_again_it_goes_on(tmp_path: Path) -> None:
    assert stopped(tmp_path, signal.SIGKILL, "*-fit-*/run.json") == -signal.SIGKILL
    fits = {path.name for path in (tmp_path / "runs").glob("*-fit-*")}
    assert stopped(tmp_path, signal.SIGTERM, "*-train-*/checkpoint.json") == 128 + signal.SIGTERM
    begun = {path.parent.name for path in (tmp_path / "runs").glob("*-train-*/checkpoint.json")}
    stdout, stderr = run(tmp_path).communicate(timeout=120)
    rows = {row["layer"]: row["runs"] for row in json.loads(stdout)["rows"]}
    assert rows["pixels"] == sorted(fits)
    assert set(rows[None]) <= begun
    assert "trying" not in stderr
