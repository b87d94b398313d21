"""What commands import: nothing heavy to refuse what is mistyped, and a fit on stored features what it uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from heavy import HEAVY, loaded_after

SLOW = {*HEAVY, "pandas", "timm"} - {"numpy", "PIL"}
"""Packages that take longer to load than a mistyped word may."""

REFUSED = """
import contextlib, io, sys
from featx.cli.main import cli
for args in {calls}:
    sys.argv = ["featx", *args]
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            cli.main(args, prog_name="featx")
            code = 0
        except SystemExit as exc:
            code = exc.code
    lines = said.getvalue().splitlines()
    assert code == {code} and lines[0].startswith("error: ") and len(lines) <= 2, (args, code, lines)
    assert {said!r} in lines[0], (args, lines)
    slow = {slow!r} & sys.modules.keys()
    assert not slow, (args, slow)
"""

RUN = """
import sys
from featx.cli.main import cli
sys.argv = ["featx", *{args}]
try:
    cli.main({args}, prog_name="featx")
except SystemExit as exc:
    assert exc.code == 0
"""

LAYER = ("-l", "layer1:avg")
EXTRACT, FIT, TRAIN = ("extract", "digits"), ("fit", "digits"), ("train", "digits", "--mode", "finetune")
FITS = (("--pixels",), ("-b", "lenet5", "--weights", "random:0", "-l", "conv2:avg"))


def refuse(calls: list[tuple[str, ...]], said: str, code: int = 2) -> None:
    """Check that commands end with one line and its hint, in a process of their own, without anything slow."""
    lists = [list(map(str, call)) for call in calls]
    modules = loaded_after(REFUSED.format(calls=lists, code=code, said=said, slow=SLOW))
    assert "featx.cli.program" in modules


@pytest.fixture(autouse=True)
def alone(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder without files, whose names would be suggested."""
    monkeypatch.chdir(tmp_path)


def with_network(*network: str) -> list[tuple[str, ...]]:
    """Return every command that takes a backbone, with this one."""
    name, *rest = network
    source = [(*EXTRACT, "-b", name, *LAYER), (*FIT, "-b", name, *LAYER), (*TRAIN, "-b", name)]
    return [(*call, *rest) for call in [*source, ("show", "digits", "-b", name), ("layers", name), ("bench", name)]]


def test_mistyped_weights_are_refused_before_anything_slow_is_loaded() -> None:
    refuse(with_network("resnet18", "--weights", "nosuch.pth"), "no weights file nosuch.pth", 1)


@pytest.mark.parametrize("weights", ["resnet18.pht", "default", "IMAGENET1K_V9", "folder/resnet18"])
def test_weights_that_are_no_file_are_refused_by_the_names_of_the_published_ones(weights: str) -> None:
    refuse(with_network("resnet18", "--weights", weights), "expected IMAGENET1K_V1, DEFAULT, random:SEED or a file")


def test_a_seed_that_is_none_is_refused_before_anything_slow_is_loaded() -> None:
    refuse(with_network("resnet18", "--weights", "random:x"), "expected random:SEED")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet81", "there is no backbone 'resnet81'"),
        ("net.py:make", "there is no file"),
        ("run:20200101", "no finished run"),
    ],
)
def test_a_mistyped_backbone_is_refused_before_anything_slow_is_loaded(name: str, said: str) -> None:
    refuse(with_network(name), said)


def test_a_mistyped_network_of_timms_is_refused_before_anything_slow_is_loaded() -> None:
    pytest.importorskip("timm")
    refuse(with_network("timm:resnet81"), "timm has no network 'resnet81'")
    refuse(with_network("timm:resnet18", "--weights", "a1_in1k"), "has no weights 'a1_in1k'")


def test_a_source_that_is_not_there_is_refused_before_anything_slow_is_loaded() -> None:
    network = ("-b", "resnet18", "--weights", "random:0")
    calls = [("extract", *network, *LAYER), ("fit", *network, *LAYER), ("fit", "--pixels"), ("show",)]
    calls.append(("train", *network, "--mode", "finetune"))
    refuse([(name, "nosuch.zip", *rest) for name, *rest in calls], "source 'nosuch.zip'")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--device", "gpu", "device is 'gpu'"),
        ("--batch-size", "0", "'--batch-size'"),
        ("--size", "0", "'--size'"),
        ("--precision", "fp8", "'fp8' is not one of"),
    ],
)
def test_values_out_of_range_are_refused_before_anything_slow_is_loaded(option: str, value: str, said: str) -> None:
    refuse([(*call, "-b", "resnet18", option, value) for call in ((*EXTRACT, *LAYER), (*FIT, *LAYER), TRAIN)], said)


def test_what_cannot_be_predicted_is_refused_before_anything_slow_is_loaded(featx_json: Callable[..., Any]) -> None:
    fitted = [featx_json(*FIT, *what, "--limit", "100")[1]["run"] for what in FITS]
    refuse([("predict", run, "nosuch.png") for run in fitted], "nosuch.png")
    refuse([("predict", "nosuch", "digits"), ("bench", "run:nosuch")], "no finished run")
    refuse([("predict", fitted[1], "digits", "--weights", "nosuch.pth")], "no weights file nosuch.pth", 1)


def test_a_mistyped_layer_of_a_network_that_was_read_is_refused_before_anything_slow_is_loaded(featx: Any) -> None:
    network = ("-b", "lenet5", "--weights", "random:0")
    assert featx("layers", "lenet5").exit_code == 0
    refuse([(*call, *network, "-l", "conv9:avg") for call in (EXTRACT, FIT)], "there is no layer 'conv9'")


@pytest.mark.parametrize("what", FITS, ids=lambda what: what[0])
def test_a_fit_on_stored_features_loads_no_more_than_it_uses(featx: Any, what: tuple[str, ...]) -> None:
    args = [*FIT, *what, "--limit", "100"]
    assert featx(*args).exit_code == 0
    modules = loaded_after(RUN.format(args=args))
    assert {"torch", "sklearn", "featx.runs.record"} <= modules
    assert not modules & {"torchvision", "torch._dynamo", "torch._inductor", "matplotlib", "h5py", "timm"}
    of_torch = loaded_after("import torch")
    assert {name for name in modules if name.startswith("torch.fx")} <= of_torch


def test_a_figure_alone_loads_what_draws_it(featx: Any, tmp_path: Path) -> None:
    args = [*FIT, "--pixels", "--limit", "100", "--sweep", "dinov2", "-o", str(tmp_path / "sweep.svg")]
    assert featx(*args[:-2]).exit_code == 0
    assert "matplotlib" in loaded_after(RUN.format(args=args))


@pytest.mark.parametrize("args", [["cache", "ls"], ["report"], ["runs", "ls"]], ids=" ".join)
def test_what_only_looks_loads_nothing_slow(featx: Any, args: list[str]) -> None:
    assert featx(*FIT, "--pixels", "--limit", "100").exit_code == 0
    assert not loaded_after(RUN.format(args=args)) & (SLOW - {"rich"})  # which sets tables
