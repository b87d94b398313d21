"""Planted wrong labels: how many are found, against cleanlab on the same probabilities and on folds of its own.

    python tests/benchmarks/label_noise.py --data cifar10.zip --weights resnet18-tinyimagenet.pth
    python tests/benchmarks/label_noise.py --only speed

noise   CIFAR-10's 10,000 test images, layer3:avg and layer4:avg of a ResNet-18 at 64 px (--home keeps them). 2 % and
        10 % of the labels are changed: to any other class, or to the other class of a pair that looks alike (PAIRS).
        For each way of ranking all rows: area under the ROC curve, average precision, and precision among the first
        100, and the first as many as were changed. Medians over --seeds plantings, and the worst of them.
        "cleanlab" is its `rank` on featx's probabilities; "cleanlab's folds" its own cross-validation with
        scikit-learn's LogisticRegression on standardised features, which keeps its defaults.
joint   the largest difference of `confident_joint` from cleanlab's, and of calibrated counts, on the same probabilities
speed   `audit_labels` on 60,000 x 512 drawn features of ten classes; and the search for outliers' neighbours

cleanlab 2.9 is no dependency: pip install --target FOLDER cleanlab, PYTHONPATH=FOLDER. Without it its lines are absent.
The data hold wrong labels of their own, and many images that these features cannot tell apart: 1 is out of reach.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.audit.confident import calibrate, confident_joint
from featx.audit.labels import audit_labels
from featx.audit.out_of_fold import JudgeConfig, combine, log_probabilities, plan_judgings
from featx.audit.outliers import outlier_distances

LAYERS = ("layer3:avg", "layer4:avg")
PAIRS = (("airplane", "ship"), ("automobile", "truck"), ("bird", "frog"), ("cat", "dog"), ("deer", "horse"))
SHARES = (0.02, 0.1)

Array = np.ndarray[Any, Any]


def main() -> None:
    """Run the parts that are asked for, and print a line for each result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="cifar10.zip")
    parser.add_argument("--weights", help="of ResNet-18, for example resnet18-tinyimagenet.pth")
    parser.add_argument("--home", type=Path, default=Path("label-noise-bench"), help="keeps the features")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--own-folds", type=int, default=1, help="plantings that cleanlab's own folds, slow, are run on"
    )
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    for part in args.only.split(","):
        PARTS[part](args)


def features(args: argparse.Namespace) -> tuple[dict[str, Array], Array, tuple[str, ...]]:
    """Return the layers' features, labels and classes of the test images."""
    from featx import FeatureStore, load_source
    from featx.extraction.extract import extract
    from featx.models.backbones import resolve

    source = load_source(args.data, "test")
    backbone = resolve("resnet18", weights=args.weights, size=64)
    tables = extract({"test": source}, backbone, list(LAYERS), FeatureStore(args.home)).tables
    return {layer: np.asarray(tables["test", layer].X) for layer in LAYERS}, source.labels, source.classes


def planted(labels: Array, classes: tuple[str, ...], share: float, pairs: bool, seed: int) -> Array:
    """Return labels of which some were changed."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(labels), round(share * len(labels)), replace=False)
    changed = labels.copy()
    if pairs:
        other = {classes.index(a): classes.index(b) for pair in PAIRS for a, b in (pair, pair[::-1])}
        changed[rows] = [other[label] for label in labels[rows].tolist()]
    else:
        changed[rows] = (labels[rows] + rng.integers(1, len(classes), len(rows))) % len(classes)
    return changed


def noise(args: argparse.Namespace) -> None:
    """Print how well each ranking finds what was planted."""
    layers, true, classes = features(args)
    print("| changed | ranking | area | average precision | of 100 | of all changed |\n|---|---|---:|---:|---:|---:|")
    for share in SHARES:
        for pairs in (False, True):
            found: dict[str, list[list[float]]] = {}
            for seed in range(args.seeds):
                labels = planted(true, classes, share, pairs, seed)
                for name, quality in rankings(layers, labels, classes, seed, seed < args.own_folds):
                    found.setdefault(name, []).append(scores(quality, labels != true))
            for name, values in found.items():
                cells = [f"{np.median(one):.3f} ({np.min(one):.3f})" for one in zip(*values, strict=True)]
                kind = "within pairs" if pairs else "at random"
                print(f"| {share:.0%} {kind} | {name} | {' | '.join(cells)} |", flush=True)


def scores(quality: Array, wrong: Array) -> list[float]:
    """Return area, average precision, and precision among the first 100 and the first as many as are wrong."""
    order = np.argsort(quality, kind="stable")
    first = [float(wrong[order[:count]].mean()) for count in (100, int(wrong.sum()))]
    return [float(roc_auc_score(wrong, -quality)), float(average_precision_score(wrong, -quality)), *first]


def rankings(
    layers: dict[str, Array], labels: Array, classes: tuple[str, ...], seed: int, own_folds: bool
) -> Iterator[tuple[str, Array]]:
    """Yield the quality of each label by each way of ranking, lowest first."""
    config = JudgeConfig(seed=seed)
    judgings = plan_judgings(labels, ["test"] * len(labels), None, config)
    logs = {name: log_probabilities(X, labels, len(classes), judgings, config) for name, X in layers.items()}
    for name, log in logs.items():
        yield f"{name}, log margin", log_margin(log, labels)
    both = combine(list(logs.values()))
    yield "both, log margin (what featx does)", log_margin(both, labels)
    yield "both, self-confidence", own_of(both, labels)
    yield "both, margin", margin(both, labels)
    means = np.log(np.mean([np.exp(log) for log in logs.values()], axis=0))
    yield "both by mean probability, log margin", log_margin(means, labels)
    ranks = np.sum([np.argsort(np.argsort(log_margin(log, labels))) for log in logs.values()], axis=0)
    yield "both by ranks of log margins", ranks.astype(float)
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return
    methods = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
    for method in methods:
        yield f"cleanlab, {method}", get_label_quality_scores(labels, np.exp(both), method=method)
    if own_folds:
        own = cleanlabs_probabilities(layers, labels, seed)
        for method in methods[:2]:
            yield f"cleanlab's folds, {method}", get_label_quality_scores(labels, own, method=method)


def cleanlabs_probabilities(layers: dict[str, Array], labels: Array, seed: int) -> Array:
    """Return out-of-fold probabilities by cleanlab's own cross-validation, with the classifier it has by default."""
    from cleanlab.count import estimate_cv_predicted_probabilities

    X = np.concatenate(list(layers.values()), axis=1)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    found: Array = estimate_cv_predicted_probabilities(X, labels, model, seed=seed)
    return found


def own_of(log: Array, labels: Array) -> Array:
    """Return each label's log-probability."""
    return log[np.arange(len(labels)), labels]


def best_other(log: Array, labels: Array) -> Array:
    """Return the log-probability of each row's most probable other class."""
    others = log.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return others.max(axis=1)


def margin(log: Array, labels: Array) -> Array:
    """Return differences of probabilities."""
    return np.exp(own_of(log, labels)) - np.exp(best_other(log, labels))


def log_margin(log: Array, labels: Array) -> Array:
    """Return differences of log-probabilities."""
    return own_of(log, labels) - best_other(log, labels)


def joint(args: argparse.Namespace) -> None:
    """Print how far counts are from cleanlab's."""
    from cleanlab.count import compute_confident_joint

    layers, true, classes = features(args)
    labels = planted(true, classes, SHARES[-1], True, 0)
    config = JudgeConfig()
    judgings = plan_judgings(labels, ["test"] * len(labels), None, config)
    proba = np.exp(log_probabilities(layers[LAYERS[1]], labels, len(classes), judgings, config))
    ours = confident_joint(proba, labels)
    theirs = compute_confident_joint(labels, proba, calibrate=False)
    rounded = compute_confident_joint(labels, proba, calibrate=True)
    apart = np.abs(calibrate(ours, labels) - rounded).max()
    print(f"counts differ by {np.abs(ours - theirs).max()}; calibrated by {apart:.2f} (cleanlab rounds to whole rows)")


def speed(args: argparse.Namespace) -> None:
    """Print seconds and peak memory for 60,000 x 512."""
    del args
    n, d, classes = 60_000, 512, 10
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, n)
    X = rng.normal(size=(n, d)).astype(np.float32)
    X += 0.12 * rng.normal(size=(classes, d)).astype(np.float32)[labels]
    wrong = rng.choice(n, n // 50, replace=False)
    labels[wrong] = (labels[wrong] + 1) % classes
    names = tuple(map(str, range(classes)))
    ids = [str(row) for row in range(n)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, busy = time.perf_counter(), time.process_time()
    found = audit_labels({"drawn": X}, labels, names, ids, ["train"] * (n * 5 // 6) + ["test"] * (n - n * 5 // 6))
    taken = f"{time.perf_counter() - began:.1f} s ({time.process_time() - busy:.1f} s of a core)"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    hits = {int(issue.id) for issue in found.issues[: len(wrong)]} & set(wrong.tolist())
    share = len(hits) / len(wrong)
    print(
        f"labels, 6 fits: {taken}, peak + {grown:.0f} MiB; accuracy {found.accuracy:.3f}, {share:.3f} of planted first"
    )
    began, busy = time.perf_counter(), time.process_time()
    outlier_distances(X)
    print(f"outliers: {time.perf_counter() - began:.1f} s ({time.process_time() - busy:.1f} s of a core)")


PARTS = {"noise": noise, "joint": joint, "speed": speed}


if __name__ == "__main__":
    main()
