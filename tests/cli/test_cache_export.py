"""``featx cache export``: what it writes, what it says, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

EXTRACT = ("extract", "digits", "-b", "lenet5", "--weights", "random:0", "--limit", "20", "--device", "cpu", "--quiet")


@pytest.fixture
def keys(featx: Any, featx_json: Any) -> dict[str, str]:
    """Layer -> key of two layers of 20 digits."""
    featx(*EXTRACT, "-l", "conv1:avg", "-l", "conv2:avg")
    return {entry["layer"]: entry["digest"][:16] for entry in featx_json("cache", "ls")[1]["entries"]}


def test_one_key_as_npz_with_the_sources_labels(featx_json: Any, keys: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "out.npz"
    how = ("-o", target, "--source", "digits", "--limit", 20)
    code, document = featx_json("cache", "export", keys["conv1:avg"], *how)
    assert code == 0
    assert (document["format"], document["labels"], document["skipped"]) == ("npz", True, [])
    assert document["output_bytes"] == target.stat().st_size
    assert [(t["layer"], t["rows"], t["columns"]) for t in document["tables"]] == [("conv1:avg", 20, 6)]
    with np.load(target) as file:
        assert sorted(file["labels"]) == sorted(list(range(10)) * 2)
        assert [int(name.split("/")[1]) for name in file["ids"]] == sorted(int(n.split("/")[1]) for n in file["ids"])


def test_without_a_source_the_missing_labels_are_told(featx: Any, keys: dict[str, str], tmp_path: Path) -> None:
    result = featx("cache", "export", keys["conv1:avg"], "-o", tmp_path / "out.npz")
    assert result.exit_code == 0
    assert "without labels" in result.stderr
    assert "--source" in result.stderr
    with np.load(tmp_path / "out.npz") as file:
        assert "labels" not in file


@pytest.mark.parametrize("extra", [(), ("--virtual",)])
def test_several_keys_go_into_one_h5(
    featx: Any, keys: dict[str, str], home: Path, tmp_path: Path, extra: tuple[str, ...]
) -> None:
    target = tmp_path / "out.h5"
    result = featx("cache", "export", *keys.values(), *keys.values(), "-o", target, *extra)
    assert result.exit_code == 0
    with h5py.File(target) as file:
        assert {name: file["all"][name].shape for name in keys} == {"conv1:avg": (20, 6), "conv2:avg": (20, 16)}
        assert file["all/conv1:avg"].is_virtual == bool(extra)
        assert not np.isnan(file["all/conv1:avg"][:]).any()


@pytest.mark.parametrize(
    ("how", "word"),
    [
        (("-o", "x.npz", "--format", "h5"), "ends in .npz"),
        (("-o", "x.dat"), "suffix"),
        (("-o", "x.dat", "--format", "hdf"), "expected h5"),
        (("-o", "x.npz", "--virtual"), "virtual"),
        (("-o", "x.npy", "--source", "digits"), "no labels"),
        (("-o", "x.npz", "--source", "digits"), "no split"),
        (("-o", "x.npz", "--limit", "20"), "--source"),
        (("-o", "none/x.npz"), "does not exist"),
        ((), "--output"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(
    featx: Any, keys: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: tuple[str, ...], word: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = featx("cache", "export", keys["conv1:avg"], *how)
    assert result.exit_code == 2
    assert word in result.stderr
    assert not list((tmp_path / "here").iterdir())


def test_two_keys_do_not_go_into_one_npz(featx: Any, keys: dict[str, str], tmp_path: Path) -> None:
    result = featx("cache", "export", *keys.values(), "-o", tmp_path / "x.npz")
    assert result.exit_code == 2
    assert "2 layers or splits" in result.stderr


def test_extract_writes_the_same_formats(featx: Any, keys: dict[str, str], tmp_path: Path) -> None:
    assert featx(*EXTRACT, "-l", "conv1:avg", "-o", tmp_path / "x.npz").exit_code == 0
    with np.load(tmp_path / "x.npz") as file:
        assert file["X"].shape == (20, 6)
        assert len(file["labels"]) == 20
    for layers, name in ((("-l", "conv1:avg", "-l", "conv2:avg"), "y.npy"), (("-l", "conv1:avg"), "y.dat")):
        assert featx(*EXTRACT, *layers, "-o", tmp_path / name).exit_code == 2
        assert not (tmp_path / name).exists()
