"""How often intervals over test rows hold the truth: drawn test sets, stratified, of classifiers with known accuracies.

Each set has ten classes of equal size, whose accuracies lie around the one that is named, the hardest furthest below.
The first classifier's interval, plain percentiles of the same draws and Wilson's interval beside it, and that of its
difference from a second one, which errs on many of the same images; macro F1 and log loss of whole rows, for fewer.

    python tests/benchmarks/coverage.py --sets 2000
    python tests/benchmarks/coverage.py --only speed

A share of 2,000 sets has a standard error of 0.005.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from featx.core.bootstrap import Resampled, RowScore
from featx.core.statistics import wilson_interval
from featx.reports.row_scores import macro_f1_score

CLASSES = 10
CELLS = np.repeat(np.arange(CLASSES), 4)
"""Classes of the kinds of rows: both right, the first alone, the second alone, neither."""
RIGHT = np.tile([[1, 1], [1, 0], [0, 1], [0, 0]], (CLASSES, 1)).astype(np.float64)
SHARED = 0.6
"""Share of the rarer kind of mistakes that both classifiers make."""

Array = np.ndarray[Any, Any]


def cell_shares(accuracy: float, behind: float) -> Array:
    """Return by class the shares of the four kinds of rows, for two classifiers of which one is a little behind."""
    spread = np.linspace(-1, 1, CLASSES) * min(0.1, (1 - accuracy) / 2)
    one = accuracy + spread
    two = one - behind
    neither = SHARED * np.minimum(1 - one, 1 - two)
    return np.stack([one + two + neither - 1, 1 - two - neither, 1 - one - neither, neither], axis=1)


def coverage(n: int, accuracy: float, sets: int, draws: int, seed: int) -> dict[str, float]:
    """Return how often each interval held the truth."""
    rng = np.random.default_rng([seed, n, round(1000 * accuracy)])
    shares = cell_shares(accuracy, 0.02)
    truth = np.array([shares[:, :2].sum(), shares[:, [0, 2]].sum()]) / CLASSES
    scores = [RowScore(RIGHT[:, [i]]) for i in range(2)]
    held = {"interval": 0, "percentile": 0, "Wilson": 0, "difference": 0}
    for at in range(sets):
        counts = rng.multinomial(n // CLASSES, shares).ravel()
        seen = counts > 0
        some = [RowScore(score.columns[seen]) for score in scores]
        found = Resampled(some, CELLS[seen], counts[seen], draws=draws, seed=at)
        held["interval"] += within(truth[0], found.interval(0))
        held["percentile"] += within(truth[0], percentiles(found.drawn[:, 0]))
        held["Wilson"] += within(truth[0], wilson_interval(found.values[0], n))
        held["difference"] += within(truth[0] - truth[1], found.difference(0, 1))
    return {name: count / sets for name, count in held.items()}


def percentiles(drawn: Array) -> Array:
    """Return the plain percentile interval."""
    return np.asarray(np.quantile(drawn, [0.025, 0.975]))


def within(truth: float, ends: Sequence[float] | Array | None) -> bool:
    """Tell whether an interval holds the truth; none, as of sets without a mistake, does not."""
    return ends is not None and ends[0] <= truth <= ends[1]


def rows_of(n: int, accuracy: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Return labels, predictions and losses of a calibrated classifier, whose confusions are not symmetric."""
    labels = np.repeat(np.arange(CLASSES), n // CLASSES)
    sure = np.clip(rng.beta(8 * accuracy, 8 * (1 - accuracy), len(labels)), 1e-4, 1 - 1e-4)
    right = rng.random(len(labels)) < sure
    wrong = (labels + rng.integers(1, 4, len(labels))) % CLASSES
    return labels, np.where(right, labels, wrong), -np.log(np.where(right, sure, (1 - sure) / (CLASSES - 1)))


def whole_rows(n: int, accuracy: float, sets: int, draws: int, seed: int) -> dict[str, float]:
    """Return how often the intervals of macro F1 and of log loss held the values of a million rows."""
    rng = np.random.default_rng([seed, n])
    labels, predicted, losses = rows_of(1_000_000, accuracy, rng)
    truth = [_value(macro_f1_score(labels, predicted, CLASSES)), losses.mean()]
    held = np.zeros((2, 2), int)
    for at in range(sets):
        labels, predicted, losses = rows_of(n, accuracy, rng)
        scores = [macro_f1_score(labels, predicted, CLASSES), RowScore(losses[:, None], high=np.inf)]
        found = Resampled(scores, labels, draws=draws, seed=at)
        for i, true in enumerate(truth):
            held[i] += [within(true, ends) for ends in (found.interval(i), percentiles(found.drawn[:, i]))]
    return dict(zip(("macro F1", "its percentile", "log loss", "its percentile "), held.ravel() / sets, strict=True))


def _value(score: RowScore) -> float:
    n = score.columns.shape[0]
    return score.of(np.full(n, 1 / n))


def speed(n: int = 10_000) -> Iterator[tuple[str, float]]:
    """Give seconds of 10,000 draws for n rows, by what is scored."""
    rng = np.random.default_rng(0)
    labels, predicted, losses = rows_of(n, 0.9, rng)
    right = (labels == predicted).astype(np.float32)[:, None]
    f1 = macro_f1_score(labels, predicted, CLASSES)
    loss = RowScore(losses[:, None], high=np.inf)
    many = [RowScore((rng.random((n, 1)) < 0.9).astype(np.float32)) for _ in range(200)]
    kinds, counts = np.unique(2 * labels + right[:, 0].astype(int), return_counts=True)
    yield "accuracy, from counts", _seconds([RowScore((kinds % 2)[:, None].astype(np.float32))], kinds // 2, counts)
    yield "accuracy, loss, top-5", _seconds([RowScore(right), loss, RowScore(right)], labels)
    yield "accuracy, loss, top-5, balanced accuracy, macro F1", _seconds([RowScore(right), loss, *many[:2], f1], labels)
    yield "accuracy of 200 runs", _seconds(many, labels)


def _seconds(scores: list[RowScore], labels: Array, counts: Array | None = None) -> float:
    start = time.perf_counter()
    found = Resampled(scores, labels, counts)
    for i in range(len(scores)):
        found.interval(i)
    return time.perf_counter() - start


def main() -> None:
    """Print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, nargs="*", default=[200, 1000, 10_000])
    parser.add_argument("--accuracy", type=float, nargs="*", default=[0.6, 0.8, 0.9, 0.95])
    parser.add_argument("--only", choices=["shares", "rows", "speed"])
    args = parser.parse_args()
    if args.only in (None, "speed"):
        for what, seconds in speed():
            print(f"{what}: {seconds:.2f} s", flush=True)
    given = [(n, accuracy) for n in args.n for accuracy in args.accuracy]
    for measure, only in ((coverage, "shares"), (whole_rows, "rows")):
        for n, accuracy in given if args.only in (None, only) else []:
            # Whole rows take a thousand times as long as counts.
            sets = args.sets if only == "shares" else max(1, args.sets // 10)
            found = measure(n, accuracy, sets, args.draws, args.seed)
            said = ", ".join(f"{name} {share:.3f}" for name, share in found.items())
            print(f"n {n:,}, accuracy {accuracy}, {sets:,} sets: {said}", flush=True)


if __name__ == "__main__":
    main()
