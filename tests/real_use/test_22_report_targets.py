"""Where a report goes: into folders that are there, and into what is no file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from featx.cli.main import cli
from featx.core.run_folder import Runs

ARGS = {"--output": "a.md", "--curves": "a.png"}


def featx(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


@pytest.fixture(autouse=True)
def _a_run() -> None:
    run = Runs().new("fit", ["featx"])
    run.write({"source": "digits", "accuracy": {"test": 0.5}})


@pytest.mark.parametrize("flag", ARGS)
def test_a_folder_that_is_not_there_is_named_with_what_makes_it(
    flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = featx("report", flag, Path("no where") / ARGS[flag])
    assert result.exit_code == 1
    assert f"there is no folder {tmp_path / 'no where'}" in result.stderr
    assert f"mkdir -p '{tmp_path / 'no where'}'" in result.stderr
    assert "FEATX_HOME" not in result.stderr
    assert not list(tmp_path.glob("no*"))
    code = json.loads(featx("report", flag, "nowhere/x.png", "--json").stdout)
    assert "mkdir" in code["hint"]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    result = featx("report", "--output", tmp_path)
    assert result.exit_code == 1
    assert "is a folder" in result.stderr


def test_a_report_may_go_into_a_pipe_or_a_device_that_stays_what_it_is(null_device: Path) -> None:
    result = featx("report", "--format", "csv", "--output", null_device)
    assert result.exit_code == 0, result.stderr
    assert not null_device.is_file()


@pytest.fixture
def null_device(tmp_path: Path) -> Path:
    """A name that means the null device, which a rename would replace by a file."""
    (tmp_path / "null").symlink_to("/dev/null")
    return tmp_path / "null"


def test_a_fit_looks_for_its_pictures_folder_before_the_work(tmp_path: Path) -> None:
    result = featx("fit", "digits", "--pixels", "--sweep", "clip", "-o", tmp_path / "nowhere" / "map.png")
    assert result.exit_code == 2
    assert str(tmp_path / "nowhere") in result.stderr
    assert len(Runs().list()) == 1
