"""An option that does not apply is a usage error, and streams that are closed end no command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import document, featx
from programs import PROGRAM

from featx.core.paths import home_folder
from featx.core.run_folder import Runs
from featx.errors import OptionError
from featx.probes.knn import KNNProbe

FIT = ("fit", "digits", "--limit", "100", "--pixels")
NET = ("fit", "digits", "--limit", "100", "-b", "lenet5", "--weights", "random:0", "-l", "pool2")


@pytest.mark.parametrize(
    "args",
    [
        *(("--head", head, option, value) for head in ("knn", "centroid", "lda") for option, value in (("--C", "2"),)),
        *(("--head", head, "--tol", "0.1") for head in ("knn", "centroid", "lda", "svm", "ridge")),
        *(("--head", head, "--max-iter", "9") for head in ("knn", "centroid", "lda", "ridge")),
        *(("--head", head, "--no-fit-intercept") for head in ("knn", "centroid", "lda")),
        *(("--head", head, "--penalty", "l2") for head in ("knn", "centroid", "lda", "svm", "ridge")),
        *(("--head", head, "--class-weight", "balanced") for head in ("knn", "centroid", "lda", "svm", "ridge")),
        *(("--head", head, "--device", "cuda") for head in ("centroid", "lda", "svm", "ridge")),
        ("--head", "knn", "--standardize"),
        ("--head", "knn", "--normalize", "l2"),
        ("--head", "lda", "--k", "3"),
        ("--l1-ratio", "0.3"),
        ("--penalty", "l1", "--l1-ratio", "0.3"),
        ("--penalty", "none", "--C", "3"),
        ("--draws", "3"),
        ("--sweep", "simclr-sgd", "--tol", "0.1"),
        ("--sweep", "simclr-sgd", "--max-iter", "9"),
        ("--sweep", "clip", "--C", "9"),
        ("--weights", "random:3"),
        ("--stem", "cifar"),
        ("--precision", "bf16"),
    ],
)
def test_an_option_of_fit_without_a_use_is_a_usage_error(args: tuple[str, ...]) -> None:
    result = featx(*FIT, *args)
    assert result.exit_code == 2, result.output
    named = [arg for arg in args if arg.startswith("--") and arg != "--head"]
    assert any(name.replace("--no-", "--") in result.stderr for name in named), result.stderr
    assert Runs().list() == []


@pytest.mark.parametrize(
    ("args", "recorded"),
    [
        (("--head", "knn", "--k", "3"), {"head": "knn", "k": 3}),
        (
            ("--head", "svm", "--C", "0.1", "--max-iter", "200", "--no-fit-intercept"),
            {"head": "svm", "C": 0.1, "max_iter": 200, "fit_intercept": False},
        ),
        (("--head", "ridge", "--C", "0.1", "--no-standardize"), {"head": "ridge", "C": 0.1, "standardize": False}),
        (
            ("--head", "lda", "--normalize", "l2", "--shots", "3", "--draws", "2"),
            {"head": "lda", "normalize": "l2", "shots": 3, "draws": 2},
        ),
        (
            ("--penalty", "elasticnet", "--l1-ratio", "0.3", "--max-iter", "20"),
            {"penalty": "elasticnet", "l1_ratio": 0.3, "max_iter": 20},
        ),
        (("--head", "centroid", "--device", "cpu"), {"head": "centroid"}),
    ],
)
def test_options_with_a_use_are_taken(args: tuple[str, ...], recorded: dict[str, Any]) -> None:
    record = Runs().open(document(*FIT, *args)["run"]).read()
    assert {name: record.get(name, "not recorded") for name in recorded} == recorded


def test_a_head_that_is_fitted_on_the_cpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device still computes the features, so that it is no error."""
    monkeypatch.setattr("featx.probes.probe.pick_device", lambda name: "cpu")
    monkeypatch.setattr("featx.core.device.pick_device", lambda name: __import__("torch").device("cpu"))
    result = featx(*NET, "--head", "lda", "--device", "cuda")
    assert "--head lda is fitted on the CPU" in result.stderr


def test_neighbours_are_looked_for_on_the_device_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    with pytest.raises(OptionError, match="tpu"):
        KNNProbe(3, device="tpu").fit(X, y)
    seen: list[torch.device] = []
    plain = torch.Tensor.to

    def to(self: torch.Tensor, device: Any, *args: Any) -> torch.Tensor:
        seen.append(torch.device(device))
        return plain(self, device, *args)

    monkeypatch.setattr(torch.Tensor, "to", to)
    KNNProbe(3).fit(X, y).predict(X)
    assert seen == [torch.device("cpu")] * 3


@pytest.mark.parametrize(
    "args",
    [
        ("extract", "digits", "-b", "pixels", "-l", "pixels", "--weights", "random:1"),
        ("extract", "digits", "-b", "pixels", "-l", "pixels", "--precision", "bf16"),
        ("show", "digits", "--size", "64"),
        ("show", "digits", "--flip"),
        ("show", "digits", "--weights", "random:1"),
    ],
)
def test_so_do_other_commands(args: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = featx(*args)
    assert result.exit_code == 2, result.output
    assert list(tmp_path.glob("*.png")) == []


def test_predict_refuses_what_a_run_has_no_use_for(tmp_path: Path, png: Any) -> None:
    run = document(*FIT)["run"]
    assert "--device cuda" in document("predict", run, "digits", "--device", "cuda", code=2)["error"]
    (tmp_path / "x.png").write_bytes(png(0))
    assert "split" in document("predict", run, tmp_path / "x.png", "--split", "test", code=2)["error"]


# ---- closed streams -------------------------------------------------------------------------------------------------


def closed(streams: tuple[int, ...], *args: object) -> subprocess.CompletedProcess[str]:
    """Run a command whose standard streams of these numbers are closed, as `>&-` does."""
    code = "import os, sys; [os.close(int(n)) for n in sys.argv[1].split()]; os.execv(sys.executable, sys.argv[2:])"
    command = [sys.executable, "-c", code, " ".join(map(str, streams)), sys.executable, *PROGRAM, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("streams", [(1,), (2,), (0, 1, 2)])
def test_a_fit_with_closed_streams_does_its_work(streams: tuple[int, ...]) -> None:
    if streams == (1,):  # without standard error, extraction has nowhere to tell its progress
        document("extract", "digits", "--limit", "100", "-b", "pixels", "-l", "pixels")
    done = closed(streams, *FIT, "--C", "0.1")
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    assert len(Runs().list()) == 1
    text = (Runs().list()[0].path / "run.json").read_bytes()
    assert text.startswith(b"{")


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("cache", "ls"), 0),
        (("runs", "ls", "--json"), 0),
        (("--help",), 0),
        (("--version",), 0),
        (("layrs",), 2),
    ],
)
def test_so_does_every_command(
    args: tuple[str, ...], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert featx(*args).exit_code == expected
    for streams in ((1,), (2,), (1, 2)):
        done = closed(streams, *args)
        assert done.returncode == expected
        assert "Traceback" not in done.stderr + done.stdout


def test_nothing_that_is_said_gets_into_a_file(tmp_path: Path) -> None:
    """The next file that is opened would take the number of a stream that is closed."""
    store = home_folder()
    done = closed((1, 2), "extract", "digits", "-b", "pixels", "-l", "pixels", "--limit", "20")
    assert done.returncode == 0
    assert document("cache", "verify")["corrupt"] == []
    assert [path for path in store.rglob("*") if path.is_file() and b"images/s" in path.read_bytes()] == []
    assert os.listdir(store / "features")
