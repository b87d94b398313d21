"""Job arrays: each job computes its part, on one store or on its own, and together they leave what one process does."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clusters import noise, stored_bytes
from fillings import CONFIG, images, lenet5, small_shards
from programs import PROGRAM

from featx.cache.store import FeatureStore
from featx.extraction.extract import ExtractResult, extract

DIGITS = ("extract", "digits", "-b", "lenet5", "--weights", "random:0", "--device", "cpu", "-l", "fc1")


def part(home: Path, rows: Any, shard: str) -> ExtractResult:
    """Compute one part of some of the 64 images, in shards of four rows."""
    where = f"shard:{shard}"
    return extract({"all": images(rows)}, lenet5(), ["fc1"], FeatureStore(home), CONFIG, executor=where)


def test_four_processes_at_once_on_one_store_leave_the_bytes_of_one(tmp_path: Path) -> None:
    source = noise(tmp_path / "noise.npy", 4 * 1024 + 9)
    network = [
        "-b",
        "lenet5",
        "--weights",
        "random:0",
        "--size",
        "32",
        "--device",
        "cpu",
        "-l",
        "fc1",
        "-l",
        "conv2:avg",
    ]
    command = [sys.executable, *PROGRAM, "extract", str(source), *network, "--quiet", "--json"]
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    parts = [
        subprocess.Popen(
            [*command, "--home", str(shared), "--shard", f"{i}/4"], stdout=subprocess.PIPE, cwd=tmp_path, text=True
        )
        for i in range(4)
    ]
    assert [process.communicate()[1] or process.returncode for process in parts] == [0, 0, 0, 0]
    subprocess.run([*command, "--home", str(alone)], check=True, stdout=subprocess.DEVNULL, cwd=tmp_path)
    assert stored_bytes(shared) == stored_bytes(alone)


def test_stores_of_their_own_are_joined_to_the_bytes_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, featx_json: Any
) -> None:
    small_shards(monkeypatch)
    rows = range(60)
    results = [part(tmp_path / f"job{i}", rows, f"{i}/4") for i in range(4)]
    assert [result.part for result in results] == [
        {"shard": f"{i}/4", "blocks": 15, "own": own, "done": own, "left": 15 - own}
        for i, own in enumerate((4, 4, 4, 3))
    ]
    assert not results[0].tables
    jobs = [str(tmp_path / f"job{i}") for i in range(4)]
    code, _ = featx_json("cache", "merge", *jobs, "--home", tmp_path / "all")
    assert code == 0
    whole = extract({"all": images(rows)}, lenet5(), ["fc1"], FeatureStore(tmp_path / "alone"), CONFIG)
    assert stored_bytes(tmp_path / "all") == stored_bytes(tmp_path / "alone")
    assert whole.part is None


def test_the_last_part_on_one_store_opens_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    first, last = (part(tmp_path, range(20), shard) for shard in ("1/2", "0/2"))
    assert (first.part or {})["left"] == 3
    assert (last.part or {})["left"] == 0
    (table,) = last.tables.values()
    assert np.isfinite(np.asarray(table.X)).all()


def test_copies_of_another_parts_rows_are_left_to_whoever_opens_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    rows = [0, 1, 2, 3, 1, 5, 6, 7]  # the second block has a copy of the first one's row
    waiting = part(tmp_path, rows, "1/2")
    assert (waiting.part or {}) == {"shard": "1/2", "blocks": 2, "own": 1, "done": 0, "left": 2}
    assert (part(tmp_path, rows, "0/2").part or {})["left"] == 1
    result = extract({"all": images(rows)}, lenet5(), ["fc1"], FeatureStore(tmp_path), CONFIG)
    assert result.part is None
    extract({"all": images(rows)}, lenet5(), ["fc1"], FeatureStore(tmp_path / "alone"), CONFIG)
    alone = {name.removeprefix("alone/"): data for name, data in stored_bytes(tmp_path / "alone").items()}
    assert stored_bytes(tmp_path) == alone


def test_stores_of_their_own_that_lack_copies_are_joined_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, featx_json: Any
) -> None:
    small_shards(monkeypatch)
    rows = [0, 1, 2, 3, 1, 5, 6, 7]
    for i in range(2):
        part(tmp_path / f"job{i}", rows, f"{i}/2")
    asked = ("cache", "merge", tmp_path / "job0", tmp_path / "job1", "--home", tmp_path / "all")
    code, document = featx_json(*asked)
    assert (code, document["kind"]) == (1, "StoreError")
    assert "--partial" in document["hint"]
    assert featx_json(*asked, "--partial")[0] == 0
    for home in ("all", "alone"):
        result = extract({"all": images(rows)}, lenet5(), ["fc1"], FeatureStore(tmp_path / home), CONFIG)
    assert result.layers[0]["rows"] == 8
    assert stored_bytes(tmp_path / "all") == stored_bytes(tmp_path / "alone")


def test_a_part_says_what_is_left(featx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    result = featx(*DIGITS, "--shard", "0/2")
    assert result.exit_code == 0, result.stderr
    assert "shard 0/2: 1 of 1 blocks computed here, of 2 in all; 1 are left in this store" in result.stdout
    monkeypatch.setenv("PBS_ARRAY_INDEX", "1")
    result = featx(*DIGITS, "--shard", "pbs/2")
    assert "shard 1/2: 1 of 1 blocks computed here, of 2 in all; none is left" in result.stdout
    assert "1797" in result.stdout


def test_output_needs_the_whole(featx: Any, tmp_path: Path) -> None:
    result = featx(*DIGITS, "--shard", "0/2", "-o", tmp_path / "out.h5")
    assert result.exit_code == 2
    assert "1 of 2 blocks are still missing" in result.stderr
    assert not (tmp_path / "out.h5").exists()


def test_the_job_script_runs_as_its_scheduler_runs_it(
    featx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    folder = tmp_path / "it's a $HOME; folder"
    folder.mkdir()
    noise(folder / "a b'$c.npy", 30)
    monkeypatch.chdir(folder)
    asked = ("a b'$c.npy", "-b", "lenet5", "--weights=random:0", "--size", "32", "-l", "fc1", "--device", "cpu")
    result = featx("extract", *asked, "--array", "job.sh", "--tasks=2", "--home", "store here")
    assert result.exit_code == 0, result.stderr
    text = (folder / "job.sh").read_text()
    assert "#SBATCH --array=0-1\n" in text
    assert "#PBS -J 0-1\n" in text
    command = shlex.split(text.splitlines()[-1])
    assert command[command.index("extract") + 1 :] == [
        *("--home", str(folder / "store here"), "--shard", "${SLURM_ARRAY_TASK_ID-$PBS_ARRAY_INDEX}/2", *asked)
    ]
    done = subprocess.run(
        ["sh", str(folder / "job.sh")],
        env={**os.environ, "SLURM_ARRAY_TASK_ID": "0"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "shard 0/2: 1 of 1 blocks" in done.stdout
    assert (folder / "store here" / "features").is_dir()
    assert not home.exists()


def test_a_file_that_is_no_job_script_is_not_replaced(featx: Any, tmp_path: Path) -> None:
    path = tmp_path / "job.sh"
    path.write_text("#!/bin/sh\nprecious\n")
    result = featx(*DIGITS, "--array", path)
    assert result.exit_code == 2
    assert "no job script of featx's" in result.stderr
    assert path.read_text() == "#!/bin/sh\nprecious\n"
    path.unlink()
    assert featx(*DIGITS, "--array", path, "--tasks", 3).exit_code == 0
    assert featx(*DIGITS, "--array", path, "--tasks", 4).exit_code == 0
    assert "--array=0-3" in path.read_text()


@pytest.mark.parametrize(
    "options",
    [
        ("--tasks", "4"),
        ("--shard", "0/2", "--cluster", "local:2"),
        ("--array", "job.sh", "--cluster", "local:2"),
        ("--cluster", "process:2"),
        ("--shard", "2/2"),
    ],
)
def test_what_goes_not_together_is_refused(featx: Any, home: Path, options: tuple[str, ...]) -> None:
    assert featx(*DIGITS, *options).exit_code == 2
    assert not home.exists()
