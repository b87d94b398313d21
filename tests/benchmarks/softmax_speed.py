"""Softmax regression's speed on easy problems, wide features and whole paths, against scikit-learn and another featx.

    python tests/benchmarks/softmax_speed.py --data cifar10.zip --weights resnet18-tinyimagenet.pth --only easy,wide

easy       drawn problems of 50,000 x 512 x 10, float32, columns standardised and correlated in five ways, classes that
           overlap: one fit at C = 1e-3, 1 and 100, at least 5, 10 and 10 times faster than LogisticRegression(
           solver="lbfgs", tol=1e-4, max_iter=1000) on the same matrix, the objective no higher
wide       45,000 x 2,048 x 10 features of two layers, C = 0.01: against --before
paths      15 C from 1e-4 to 1e3, each from the last, over 9,000 rows of 4,096 and of 2,048 columns, and 8 C from
           1e-3 to 1e4 over standardised ones: against 15 (8) warm-started fits of lbfgs, and against --before

--before is a folder with another state of the package, to be measured in the same session:

    git archive HEAD | tar x -C OLD && pip install --no-deps --target OLD/lib OLD

Features are ResNet-18's pooled activations of CIFAR-10's training images at 64 px (bf16, stored as float32), extracted
once and kept in --home. Each fit runs in a process of its own, after a small one; rounds alternate and medians count.
Objectives are recomputed in float64 for all. `--drawn` chooses other problems than the ones that were tuned on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from softmax import objective, timed

EASY_C = (1e-3, 1.0, 100.0)
WIDE_C = 0.01
LAYERS = {"layer2:avg4": 2048, "layer4:avg2": 2048, "layer3:avg4": 4096}
LOWEST_C, HIGHEST_C = 1e-4, 1e3
STANDARDISED_C = tuple(np.geomspace(1e-3, 1e4, 8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="cifar10.zip")
    parser.add_argument("--weights", help="of ResNet-18, for example random:0")
    parser.add_argument("--home", type=Path, default=Path("softmax-bench"), help="keeps the features")
    parser.add_argument("--before", type=Path, help="folder to import another featx from")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--sides", default="after,before,lbfgs", help="who is measured")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--drawn", default="0,1,2,3,4", help="numbers of the easy problems")
    parser.add_argument("--layer", help="measure only what is about features of this layer")
    parser.add_argument("--cs", type=int, default=15, help="C of the paths over columns as they are")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.child:
        print(json.dumps(child(json.loads(options.child))))
        return
    sides = [side for side in options.sides.split(",") if side != "before" or options.before]
    print(f"| work | {' | '.join(f'{side}, s' for side in sides)} | ratios | objectives |", flush=True)
    print("|---|" + "---:|" * len(sides) + "---|---|", flush=True)
    for part in options.only.split(","):
        found = list(PARTS[part](options, sides))
        for side in sides[1:]:
            ratios = sorted(one[side] for one in found if side in one)
            if ratios:
                said = f"median {statistics.median(ratios):.2f}, worst {ratios[0]:.2f}"
                print(f"{part}: faster than {side} by {said} ({len(ratios)} comparisons)", flush=True)


Ratios = dict[str, float]


def easy(options: argparse.Namespace, sides: list[str]) -> Iterator[Ratios]:
    with tempfile.TemporaryDirectory(prefix="featx-bench-") as scratch:
        for number in map(int, options.drawn.split(",")):
            name, X, y = drawn(number)
            save(Path(scratch), X, y)
            for C in EASY_C:
                work = {"folder": scratch, "C": [C]}
                yield compare(f"{name} ({number}), C = {C:g}", work, options, sides)


def wide(options: argparse.Namespace, sides: list[str]) -> Iterator[Ratios]:
    with tempfile.TemporaryDirectory(prefix="featx-bench-") as scratch:
        for layer in ("layer2:avg4", "layer4:avg2"):
            if options.layer not in (None, layer):
                continue
            X, y = features(options, layer)
            save(Path(scratch), X[:45_000], y[:45_000])
            yield compare(f"{layer}, 45,000 x 2,048", {"folder": scratch, "C": [WIDE_C]}, options, sides)


def paths(options: argparse.Namespace, sides: list[str]) -> Iterator[Ratios]:
    with tempfile.TemporaryDirectory(prefix="featx-bench-") as scratch:
        for layer, standardised in (("layer3:avg4", False), ("layer2:avg4", False), ("layer4:avg2", True)):
            if options.layer not in (None, layer):
                continue
            X, y = features(options, layer)
            X, y = X[:9000], y[:9000]
            if standardised:
                X = ((X - X.mean(0)) / np.where(X.std(0) > 0, X.std(0), 1)).astype(np.float32)
            save(Path(scratch), X, y)
            Cs = STANDARDISED_C if standardised else tuple(np.geomspace(LOWEST_C, HIGHEST_C, options.cs))
            name = f"{layer}, {len(Cs)} C over 9,000 x {X.shape[1]:,}{', standardised' if standardised else ''}"
            yield compare(name, {"folder": scratch, "C": list(Cs)}, options, sides)


PARTS: dict[str, Callable[[argparse.Namespace, list[str]], Iterator[Ratios]]] = {
    "easy": easy,
    "wide": wide,
    "paths": paths,
}


def compare(name: str, work: dict[str, Any], options: argparse.Namespace, sides: list[str]) -> Ratios:
    """Print one row; return how many times faster than each other side the first one is."""
    runs: dict[str, list[Any]] = {side: [] for side in sides}
    for at in range(options.rounds):
        for side in sides:
            if at == 0 or runs[side][0]["seconds"] * options.rounds < 90:  # what is slow runs once
                runs[side].append(run({**work, "side": side}, options))
    seconds = {side: statistics.median(one["seconds"] for one in found) for side, found in runs.items()}
    ratios = {side: seconds[side] / seconds[sides[0]] for side in sides[1:]}
    own = np.array(runs[sides[0]][0]["objectives"])
    said = f"{own[-1]:.6g} in {sum(runs[sides[0]][0]['steps'])} steps"
    for side in sides[1:]:
        other = runs[side][0]
        worst = float((own / np.array(other["objectives"]) - 1).max())
        said += f"; {worst:+.1e} of {side}'s ({sum(other['steps'])} steps)"
    said += f"; bound {max(runs[sides[0]][0]['bounds'], default=float('nan')):.0e}"
    cells = " | ".join(f"{seconds[side]:.2f}" for side in sides)
    faster = ", ".join(f"{side} {ratio:.2f}" for side, ratio in ratios.items())
    print(f"| {name} | {cells} | {faster} | {said} |", flush=True)
    return ratios


def run(work: dict[str, Any], options: argparse.Namespace) -> Any:
    environment = dict(os.environ)
    if work["side"] == "before":
        environment["PYTHONPATH"] = str(options.before)
    command = [sys.executable, __file__, "--child", json.dumps(work)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def child(work: dict[str, Any]) -> dict[str, Any]:
    """Fit all C, after a small fit that starts threads and kernels; one fit has a certificate, a path has none."""
    X, y = (np.load(Path(work["folder"]) / name) for name in ("X.npy", "y.npy"))
    Cs, side = work["C"], work["side"]
    fit = lbfgs_path if side == "lbfgs" else featx_fit if len(Cs) == 1 else featx_path
    fit(X[::50], y[::50], Cs[:1] * len(Cs[:2]))
    seconds, models = timed(lambda: fit(X, y, Cs))
    return {
        "seconds": seconds,
        "objectives": [objective(model, X, y, C) for model, C in zip(models, Cs, strict=True)],
        "steps": [int(np.ravel(model.n_iter_)[0]) for model in models],
        "bounds": [model.objective_gap_ / model.objective_ for model in models if hasattr(model, "objective_gap_")],
    }


def featx_fit(X: Any, y: Any, Cs: list[float]) -> list[Any]:
    from featx import SoftmaxRegression

    return [SoftmaxRegression(C=Cs[0]).fit(X, y)]


def featx_path(X: Any, y: Any, Cs: list[float]) -> list[Any]:
    import torch

    from featx.probes.config import FitConfig
    from featx.probes.problem import make_problem, to_coefficients
    from featx.probes.regularization_path import fit_path

    classes, target = np.unique(y, return_inverse=True)
    weight = torch.ones(len(y), dtype=torch.float64)
    problem = make_problem(
        torch.from_numpy(X),
        torch.from_numpy(target.astype(np.int64)),
        len(classes),
        C=1.0,
        weight=weight,
        fit_intercept=True,
        standardize=False,
    )
    found = []
    for solution in fit_path(problem, Cs, tol=FitConfig.tol, max_iter=FitConfig.max_iter):
        coef, intercept = (part.numpy() for part in to_coefficients(problem, solution.point))
        found.append(
            argparse.Namespace(coef_=coef, intercept_=intercept, classes_=classes, n_iter_=solution.n_evaluations)
        )
    return found


def lbfgs_path(X: Any, y: Any, Cs: list[float]) -> list[Any]:
    from copy import deepcopy

    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(solver="lbfgs", tol=1e-4, max_iter=1000, warm_start=True)
    return [deepcopy(model.set_params(C=C).fit(X, y)) for C in Cs]


def save(folder: Path, X: Any, y: Any) -> None:
    np.save(folder / "X.npy", np.ascontiguousarray(X))
    np.save(folder / "y.npy", np.asarray(y))


def features(options: argparse.Namespace, layer: str) -> tuple[Any, Any]:
    """Return the 50,000 training images' features of one layer, float32, and their labels."""
    from featx import FeatureStore, load_source
    from featx.core.specs import ExtractConfig
    from featx.extraction.extract import extract
    from featx.models.backbones import resolve

    source = load_source(options.data, "train")
    backbone = resolve("resnet18", weights=options.weights, size=64)
    config = ExtractConfig(precision="bf16")
    found = extract({"train": source}, backbone, list(LAYERS), FeatureStore(options.home), config)
    table = found.tables["train", layer]
    assert table.X.shape[1] == LAYERS[layer]
    order = np.random.default_rng(0).permutation(len(table))  # files are sorted by class
    return np.asarray(table.X)[order], np.asarray(table.y)[order]


def drawn(number: int, n: int = 50_000, d: int = 512, k: int = 10) -> tuple[str, Any, Any]:
    """Return the name, X (n, d), standardised float32, and y (n,) of an easy problem; the shapes take turns."""
    random = np.random.default_rng(number)
    name = list(SHAPES)[number % len(SHAPES)]
    X = SHAPES[name](random, n, d)
    X = (X - X.mean(0)) / X.std(0)
    # Classes by a teacher who is not sure: who knows all columns, or a few of them, and prefers some classes.
    teacher = random.standard_normal((d, k)) * (random.uniform(size=(d, 1)) < (0.1 if number % 2 else 1))
    logits = X @ teacher
    y = (1.5 * logits / logits.std() + number % 2 * np.linspace(-1, 1, k) + random.gumbel(size=(n, k))).argmax(1)
    return name, X.astype(np.float32), y


def factors(random: np.random.Generator, n: int, d: int) -> Any:
    shared = random.standard_normal((n, 20)) @ random.standard_normal((20, d))
    return shared + random.standard_normal((n, d))


def chain(random: np.random.Generator, n: int, d: int) -> Any:
    X = random.standard_normal((n, d))
    for j in range(1, d):
        X[:, j] = 0.95 * X[:, j - 1] + np.sqrt(1 - 0.95**2) * X[:, j]
    return X


def spectrum(random: np.random.Generator, n: int, d: int) -> Any:
    turned = np.linalg.qr(random.standard_normal((d, d)))[0]
    return random.standard_normal((n, d)) / np.arange(1, d + 1) @ turned


def common(random: np.random.Generator, n: int, d: int) -> Any:
    return np.sqrt(0.5) * random.standard_normal((n, 1)) + np.sqrt(0.5) * random.standard_normal((n, d))


def rectified(random: np.random.Generator, n: int, d: int) -> Any:
    hidden = random.standard_normal((n, 64)) @ random.standard_normal((64, d)) / 8
    return np.maximum(hidden + 0.5 * random.standard_normal((n, d)) + 0.3, 0)


SHAPES: dict[str, Callable[[np.random.Generator, int, int], Any]] = {
    "few factors": factors,
    "chain": chain,
    "power-law spectrum": spectrum,
    "one common factor": common,
    "rectified": rectified,
}


if __name__ == "__main__":
    main()
