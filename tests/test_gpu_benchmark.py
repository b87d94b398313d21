"""The benchmark that waits for a GPU runs: on the CPU and in small, so that it does not fail where one is at last."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path
from typing import Any

import gpu
import pytest
import torch
from several import prepared


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every part once, and then one again, which fails: the folder that it writes is there already."""
    out = tmp_path_factory.mktemp("gpu")
    parts = ",".join([*gpu.PARTS, "jpegs", "million"])
    command = [sys.executable, gpu.__file__, "--out", str(out), "--device", "cpu", "--quick", "--only", parts]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=120)
    return out


@pytest.fixture
def lines(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "gpu.json").read_text())["lines"]
    return found


def test_every_part_measures_something_and_none_fails(lines: list[dict[str, Any]]) -> None:
    assert list(dict.fromkeys(line["part"] for line in lines)) == list(gpu.PARTS)
    assert [line for line in lines if line["failed"]] == lines[-2:-1]
    assert all(line["figure"] > 0 for line in lines if line["unit"] in ("images/s", "s"))
    assert all(line["host_mb"] > 100 for line in lines if not line["failed"])


def test_what_should_be_the_same_is(lines: list[dict[str, Any]]) -> None:
    same = [line for line in lines if "difference" in line["what"]]
    assert len(same) == 3
    assert all(line["figure"] == 0 for line in same)


def test_a_part_that_fails_is_a_line_with_its_message_and_the_next_one_runs(lines: list[dict[str, Any]]) -> None:
    failed, last = lines[-2:]
    assert failed["part"] == "jpegs"
    assert failed["failed"].startswith("FileExistsError: ")
    assert "\n" not in failed["failed"]
    assert last["part"] == "million"
    assert last["figure"] > 0


def test_the_table_has_a_row_for_each_line(folder: Path, lines: list[dict[str, Any]]) -> None:
    _, _, _, rule, *rows = (folder / "gpu.md").read_text().splitlines()
    assert len(rows) == len(lines)
    assert {row.count(" | ") for row in rows} == {6}
    assert rule.count("|") == 8
    assert "| failed |" in rows[-2]
    assert sorted(path.name for path in folder.iterdir()) == ["gpu.json", "gpu.md"]


def test_a_part_is_stopped_at_its_limit(tmp_path: Path) -> None:
    prepared()  # else the server that is started here, and has loaded less, would serve other tests too
    (line,) = gpu.run_part("million", gpu.Job("cpu", gpu.QUICK, tmp_path), 0.01)
    assert (line.part, line.failed) == ("million", "stopped after 0 s")
    assert not multiprocessing.active_children()


def test_the_whole_takes_less_than_eight_minutes() -> None:
    assert sum(seconds for seconds, _ in gpu.PARTS.values()) <= 460


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here: what happens without it cannot be seen")
def test_without_a_gpu_it_says_so_in_a_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path / "out")])
    gpu.main()
    assert capfd.readouterr() == ("no CUDA device: nothing was measured, and nothing is written\n", "")
    assert not list(tmp_path.iterdir())
