"""A run's folder holds its record and model, and counts once the record is there."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from featx.core.run_folder import Run, Runs, by_time, jsonable
from featx.errors import CorruptStoreError, OptionError, StoreError
from featx.training.config import TrainConfig


def recorded(runs: Runs, kind: str = "fit", **record: Any) -> Run:
    run = runs.new(kind, ["featx", kind])
    run.write(record)
    return run


def test_a_run_is_there_at_once_and_listed_once_it_is_recorded(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    assert runs.list() == []
    run = runs.new("fit", ["featx", "fit", "digits"])
    assert re.fullmatch(r"\d{8}-\d{6}-fit-[0-9a-f]{4}", run.id)
    assert run.path == tmp_path / "runs" / run.id
    assert run.path.is_dir()
    assert runs.list() == []
    run.write({"accuracy": {"test": 0.5}})
    assert [found.id for found in Runs(tmp_path).list()] == [run.id]
    record = runs.list()[0].read()
    assert record["accuracy"] == {"test": 0.5}
    assert record["id"] == run.id
    assert record["kind"] == "fit"
    assert record["command"] == ["featx", "fit", "digits"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["created"])


def test_ids_begin_with_the_time_in_utc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1795256130.0)
    run = Runs(tmp_path).new("demo", [])
    assert run.id.startswith("20261121-101530-demo-")


def test_the_list_is_in_order_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(tmp_path)
    wanted = []
    for seconds, kind in ((300, "train"), (100, "fit"), (200, "demo")):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: 1_000_000 + seconds)
        wanted.append((seconds, recorded(runs, kind).id))
    assert [run.id for run in runs.list()] == [name for _, name in sorted(wanted)]


def test_ids_of_one_second_sort_by_time_whatever_their_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for part, kind in ((0.1, "train"), (0.2, "fit"), (0.3, "train"), (0.4, "demo")):
        monkeypatch.setattr(time, "time", lambda part=part: 1_000_000 + part)
        ids.append(Runs(tmp_path).new(kind, []).id)
    assert sorted(ids, key=by_time) == ids
    assert [run.id for run in Runs(tmp_path).all()] == ids


def test_runs_of_one_second_are_in_the_order_they_were_recorded(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    names = ["20261121-101530-train-ffff", "20261121-101530-fit-0000", "20261121-101530-demo-8888"]
    for position, name in enumerate(names):
        (runs.folder / name).mkdir(parents=True)
        Run(runs.folder / name).write({})
        os.utime(runs.folder / name / "run.json", ns=(position, position))
    assert [run.id for run in runs.list()] == names


def test_open_takes_an_id_its_beginning_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(tmp_path / "home")
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    first = recorded(runs)
    monkeypatch.setattr(time, "time", lambda: 2_000_000.0)
    second = recorded(runs, "train")
    assert runs.open(second.id).path == second.path
    assert runs.open(first.id[:12]).id == first.id
    elsewhere = tmp_path / "elsewhere"
    first.path.rename(elsewhere)
    assert runs.open(elsewhere).read()["id"] == first.id
    monkeypatch.chdir(tmp_path)
    assert runs.open("elsewhere").path == elsewhere


def test_unknown_runs_name_the_nearest(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    with pytest.raises(OptionError, match="no finished run"):
        runs.open("20261121")
    run = recorded(runs)
    recorded(runs)
    with pytest.raises(OptionError, match="matches 2 runs"):
        runs.open("20" if run.id[:2] == "20" else run.id[:2])
    with pytest.raises(OptionError) as caught:
        runs.open(run.id[:-1] + "x")
    assert run.id in caught.value.hint
    unfinished = runs.new("fit", [])
    for bad in (unfinished.id, "", "zzz", "../..", "a" * 5000, "\0", str(tmp_path)):
        with pytest.raises(OptionError, match="no finished run"):
            runs.open(bad)


def test_records_hold_numpy_and_no_nan(tmp_path: Path) -> None:
    @dataclass
    class Point:
        x: float

    run = recorded(
        Runs(tmp_path),
        loss=float("nan"),
        curve=np.array([1.5, np.inf, -np.inf], np.float32),
        n=np.int64(3),
        flag=np.bool_(True),
        deep={"a": [(np.float16(0.5), Path("x/y"))], 3: {"b", "a"}},
        point=Point(float("inf")),
        config=TrainConfig(),
        confusion=np.eye(2, dtype=np.int64),
    )

    def refuse(name: str) -> None:
        raise AssertionError(name)

    record = json.loads((run.path / "run.json").read_text(), parse_constant=refuse)
    assert record["loss"] is None
    assert record["curve"] == [1.5, None, None]
    assert record["n"] == 3
    assert record["flag"] is True
    assert record["deep"] == {"a": [[0.5, "x/y"]], "3": ["a", "b"]}
    assert record["point"] == {"x": None}
    assert record["config"]["momentum"] == 0.9
    assert record["confusion"] == [[1, 0], [0, 1]]


def test_what_no_record_can_hold_is_a_type_error_and_writes_nothing(tmp_path: Path) -> None:
    run = Runs(tmp_path).new("fit", [])
    for value in (object(), b"x", 1j, int):
        with pytest.raises(TypeError, match="record"):
            jsonable({"a": [value]})
    with pytest.raises(TypeError):
        run.write({"a": int})
    assert os.listdir(run.path) == []


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    run = Runs(tmp_path).new("fit", [])
    tensors = {
        "W": np.arange(12, dtype=np.float32).reshape(3, 4).T,
        "b": np.arange(10, dtype=np.float64)[::2],
        "n": np.array(7),
        "half": np.ones((2, 0), np.float16),
    }
    path = run.save_tensors(tensors)
    assert path == run.path / "model.safetensors"
    loaded = load_file(path)
    assert set(loaded) == set(tensors)
    for name, array in tensors.items():
        assert loaded[name].dtype == array.dtype
        assert np.array_equal(loaded[name], array)
        assert loaded[name].shape == array.shape


def test_other_files_have_plain_names(tmp_path: Path) -> None:
    run = Runs(tmp_path).new("fit", [])
    assert run.write_text("curve.csv", "ü\n").read_text("utf-8") == "ü\n"
    assert run.write_bytes("plot.png", b"\x89").read_bytes() == b"\x89"
    for name in ("../x", "a/b", "", ".", "..", ".hidden", "run.json", "a\0b"):
        with pytest.raises(OptionError):
            run.write_text(name, "")
    assert sorted(os.listdir(run.path)) == ["curve.csv", "plot.png"]


def test_discard_removes_only_what_has_no_record(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    lost, kept = runs.new("fit", []), recorded(runs)
    lost.write_text("curve.csv", "")
    for run in (lost, kept, lost):
        run.discard()
    assert not lost.path.exists()
    assert kept.read()["kind"] == "fit"


def test_a_home_that_cannot_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        Runs(tmp_path / "home").new("fit", [])
    with pytest.raises(OptionError, match="kind"):
        Runs(tmp_path).new("../fit", [])


def test_a_damaged_record_names_its_file(tmp_path: Path) -> None:
    run = recorded(Runs(tmp_path))
    for text in ("{", "[]", "NaN"):
        (run.path / "run.json").write_text(text)
        with pytest.raises(CorruptStoreError, match=r"run\.json") as caught:
            run.read()
        assert str(run.path) in caught.value.hint


def test_foreign_folders_and_links_are_not_listed(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    run = recorded(runs)
    (runs.folder / "notes").mkdir()
    (runs.folder / "notes" / "run.json").write_text("{}")
    (runs.folder / "20261121-101530-fit-a1b2").symlink_to(run.path)
    assert [found.id for found in runs.list()] == [run.id]
