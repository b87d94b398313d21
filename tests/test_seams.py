"""What is chosen by name is a class or a function and its line in a dictionary: a toy of each kind, put in and used."""

from __future__ import annotations

import importlib
import sys
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import document, featx
from sklearn.linear_model import Perceptron
from torch import Tensor, nn

from featx import FeatureExtractor, SoftmaxRegression, load_source
from featx.cache.memo import Memo
from featx.core.csv_cells import csv_line
from featx.core.specs import PreprocessSpec
from featx.data import registry
from featx.data.arrays import ArraySource
from featx.errors import OptionError
from featx.models import families
from featx.models.assembly import draw, facts_with, read_tensors
from featx.models.backbones import resolve
from featx.models.facts import Inspection, stamps_of
from featx.models.family import Asked, Blueprint, Family
from featx.models.weights import existing, is_seed
from featx.probes import classifiers, config, softmax_solver
from featx.probes.classifiers import Head
from featx.probes.config import FitConfig
from featx.probes.curvature import CurvatureMetrics
from featx.probes.newton import NewtonStep
from featx.probes.objective import Evaluation, hessian_product
from featx.probes.problem import Problem
from featx.reports import formats
from featx.reports.check import Check
from featx.reports.columns import Row
from featx.reports.confusion import Confusion

pytestmark = pytest.mark.usefixtures("one_thread")


def read_anew(monkeypatch: pytest.MonkeyPatch, *commands: str) -> None:
    """Let the next call import modules of the command line again, whose choices were read when they were imported."""
    package = importlib.import_module("featx.cli")
    for name in commands:
        importlib.import_module(f"featx.cli.{name}")
        monkeypatch.delitem(sys.modules, f"featx.cli.{name}")
        monkeypatch.delattr(package, name)


# ---- a kind of source: a function, and its line in BY_SUFFIX --------------------------------------------------------


def open_greys(spec: str, memo: Memo | None) -> registry.Splits:
    """Open a file with a line for each image, its class and the grey that all of its 8 x 8 pixels have."""
    lines = [line.split() for line in Path(spec).read_text(encoding="utf-8").splitlines()]
    classes = tuple(sorted({name for name, _ in lines}))
    images = np.stack([np.full((8, 8), int(grey), np.uint8) for _, grey in lines])
    labels = np.array([classes.index(name) for name, _ in lines])
    return {"all": ArraySource(images, labels, classes=classes, spec=spec)}


def greys(folder: Path) -> Path:
    path = folder / "some.greys"
    path.write_text("".join(f"dark {i}\nlight {255 - i}\n" for i in range(60)))
    return path


def test_a_kind_of_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = greys(tmp_path)
    with pytest.raises(OptionError, match=r"a \.greys file"):
        load_source(path)
    monkeypatch.setitem(registry.BY_SUFFIX, ".greys", open_greys)
    source = load_source(path)
    assert (len(source), source.classes, source.channels) == (120, ("dark", "light"), 1)
    assert (source[1][0].max(), source[1][1]) == (255, 1)
    assert document("fit", path, "--pixels")["accuracy"]["test"] == 1.0
    (tmp_path / "other.nosuch").touch()
    with pytest.raises(OptionError, match=r"expected a folder, .*\.greys"):
        load_source(tmp_path / "other.nosuch")


# ---- a family of backbones: a class, and its line in FAMILIES -------------------------------------------------------


class Tiles(Family):
    """``tiles:N``: the mean colours of N x N tiles, and a linear layer."""

    def inspect(self, asked: Asked) -> Inspection:
        plan = Blueprint(asked.name, {"classes": 10})
        file = None if is_seed(asked.weights) else existing(asked.weights)
        stamps = stamps_of([file])
        module = draw(asked.weights, lambda: self.build(plan))
        state = None if file is None else read_tensors(module, file)
        facts = facts_with(state, module, asked.name, asked.weights, plan.options, self.find_head(module))
        preprocess = PreprocessSpec(None, None, asked.channels, mean=(0.0,) * 3, std=(1.0,) * 3)
        return Inspection(replace(facts, preprocess=preprocess, file=file), stamps)

    def build(self, plan: Blueprint) -> nn.Module:
        tiles = plan.name.partition(":")[2]
        if tiles not in ("2", "4"):
            raise OptionError(f"there are no {tiles!r} tiles, expected 2 or 4")
        head = nn.Linear(3 * int(tiles) ** 2, plan.options["classes"])
        layers = {"pool": nn.AdaptiveAvgPool2d(int(tiles)), "flat": nn.Flatten(), "head": head}
        return nn.Sequential(OrderedDict(layers))

    def names(self) -> list[str]:
        return ["tiles:2", "tiles:4"]


TILES = ("-b", "tiles:2", "--weights", "random:0")


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(families.FAMILIES, "tiles:", Tiles())


def mean_colours(images: Any) -> Any:
    """Of 2 x 2 tiles of 8 x 8 grey pixels, (n, 12)."""
    means = images.reshape(len(images), 2, 4, 2, 4).mean((2, 4)) / 255
    return np.repeat(means.reshape(len(images), 1, 4), 3, axis=1).reshape(len(images), 12)


def test_without_its_line_a_familys_name_is_something_else() -> None:
    with pytest.raises(OptionError, match="is no factory"):
        resolve("tiles:2", weights="random:0")


@pytest.mark.usefixtures("tiles", "settled")
def test_a_family_of_backbones(tmp_path: Path) -> None:
    digits = load_source("digits")
    backbone = resolve("tiles:2", weights="random:0", memo=Memo(tmp_path / "memo"))
    assert (backbone.name, backbone.head, backbone.head_width) == ("tiles:2", "head", 12)
    assert resolve("tiles:2", weights="random:0", memo=Memo(tmp_path / "memo")) == backbone
    torch.save(backbone.module().state_dict(), tmp_path / "w.pth")
    assert resolve("tiles:2", weights=str(tmp_path / "w.pth")).weights_sha256 == backbone.weights_sha256
    assert resolve("tiles:2", weights="random:1").weights_sha256 != backbone.weights_sha256
    found = FeatureExtractor("tiles:2", "flat", weights="random:0", device="cpu").transform(digits)
    np.testing.assert_allclose(found, mean_colours(digits.images), atol=1e-6)


@pytest.mark.usefixtures("tiles")
def test_a_familys_features_are_stored_and_its_trainings_predict() -> None:
    computed = [document("extract", "digits", *TILES, "-l", "flat")["layers"][0]["computed"] for _ in range(2)]
    assert computed == [1797, 0]
    for command in (("fit", "-l", "flat"), ("train", "--mode", "frozen", "--epochs", "1")):
        run = document(command[0], "digits", *TILES, *command[1:], "--limit", "100")["run"]
        assert len(document("predict", run, "digits", "--limit", "3")["predictions"]) == 3
    assert resolve(f"run:{run}").name == "tiles:2"


@pytest.mark.usefixtures("tiles")
def test_a_familys_names_are_offered_and_its_errors_told() -> None:
    from featx.cli.completion import complete_backbone

    class Context:
        params: dict[str, Any] = {}  # noqa: RUF012

    assert complete_backbone(Context(), None, "til") == ["tiles:"]  # type: ignore[arg-type]
    assert complete_backbone(Context(), None, "tiles:") == ["tiles:2", "tiles:4"]  # type: ignore[arg-type]
    refused = featx("layers", "tiles:3", "--weights", "random:0")
    assert (refused.exit_code, refused.stderr.strip()) == (2, "error: there are no '3' tiles, expected 2 or 4")
    with pytest.raises(OptionError, match="torchvision's ResNets"):
        resolve("tiles:2", weights="random:0", stem="cifar")


@pytest.mark.usefixtures("tiles")
def test_a_whole_name_is_a_line_too_and_is_suggested(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="there is no backbone 'tiles'"):
        resolve("tiles", weights="random:0")
    monkeypatch.setitem(families.FAMILIES, "tiles", families.FAMILIES["tiles:"])
    with pytest.raises(OptionError, match="there are no '' tiles"):
        resolve("tiles", weights="random:0")
    with pytest.raises(OptionError, match="there is no backbone 'tilse'") as caught:
        resolve("tilse", weights="random:0")
    assert "tiles" in caught.value.hint


# ---- a head: a function, and its line in HEADS and among the options ------------------------------------------------


def perceptron(config: FitConfig, device: str) -> Any:
    return Perceptron(random_state=config.seed)


def test_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="perceptron"):
        FitConfig(head="perceptron")  # type: ignore[arg-type]
    monkeypatch.setitem(classifiers.HEADS, "perceptron", Head(perceptron, is_probabilistic=False))
    monkeypatch.setattr(config, "HEADS", (*config.HEADS, "perceptron"))  # what its Literal type would do
    read_anew(monkeypatch, "fit_options", "fit")
    found = document("fit", "digits", "--pixels", "--head", "perceptron", "--seed", "3")
    assert found["accuracy"]["test"] > 0.9
    assert found["loss"]["test"] is None
    assert len(document("predict", found["run"], "digits", "--limit", "20")["predictions"]) == 20


# ---- a solver: a class, and its line in SOLVERS ---------------------------------------------------------------------


class Dense:
    """Newton's equation by all of the Hessian, of problems with few weights."""

    def __init__(self) -> None:
        self.steps = 0

    def suits(self, problem: Problem) -> bool:
        return problem.n_rows * len(problem.ridge) < 30

    def step(self, problem: Problem, theta: Tensor, at: Evaluation, metrics: CurvatureMetrics) -> NewtonStep:
        self.steps += 1
        units = torch.eye(theta.numel(), dtype=theta.dtype).view(-1, *theta.shape)
        hessian = torch.stack([hessian_product(problem, theta, unit).flatten() for unit in units])
        step = torch.linalg.pinv(hessian, hermitian=True) @ at.gradient.flatten()
        return NewtonStep(step.view_as(theta), float(step @ at.gradient.flatten()), True)


def heavy_tails(columns: int) -> tuple[Any, Any]:
    """Three classes on columns of Cauchy's, where L-BFGS ends before anything is proven."""
    rng = np.random.default_rng(0)
    y = (rng.normal(size=150) > 0).astype(int) + (rng.normal(size=150) > 1)
    return rng.standard_cauchy((150, columns)) * 100, y


def test_a_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = Dense()
    rough = {"C": 1e4, "tol": 1e-2}
    expected = SoftmaxRegression(**rough).fit(*heavy_tails(4))
    monkeypatch.setitem(softmax_solver.SOLVERS, "dense", dense)
    found = SoftmaxRegression(**rough).fit(*heavy_tails(4))
    assert dense.steps > 0
    assert found.converged_
    assert found.objective_ == pytest.approx(expected.objective_, rel=1e-4)
    dense.steps = 0
    assert SoftmaxRegression(**rough).fit(*heavy_tails(12)).converged_
    assert dense.steps == 0  # 39 weights


# ---- a format of reports: a class, and its line in FORMATS ----------------------------------------------------------


class Tally:
    """The number of runs, or of rows, and nothing else."""

    def runs(self, rows: Sequence[Row], names: Sequence[str] | None, checks: Sequence[Check] = ()) -> str:
        return csv_line(["runs", len(rows)])

    def confusion(self, found: Confusion) -> str:
        return csv_line(["rows", int(np.sum(found.counts))])


def test_a_format_of_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [document("fit", "digits", "--pixels", "--limit", "100", "--seed", str(i))["run"] for i in range(2)]
    refused = featx("report", "--format", "tally")
    assert refused.exit_code == 2
    assert "tally" in refused.stderr
    monkeypatch.setitem(formats.FORMATS, "tally", Tally())
    read_anew(monkeypatch, "report")
    assert featx("report", "--format", "tally").stdout == "runs,2\n"
    assert featx("report", runs[0], "--confusion", "--format", "tally").stdout == "rows,10\n"
