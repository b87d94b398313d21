"""A short trial: how long a fit or a training takes here, from a few batches of its images."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from featx.cache.memo import Memo
from featx.core.concatenation import Feature, made_of
from featx.core.device import SlowPrecisionWarning, pick_device
from featx.core.run_folder import jsonable
from featx.core.specs import ExtractConfig
from featx.data.splits import Part, Partition
from featx.errors import FeatxWarning
from featx.extraction.compute import compute
from featx.models.backbones import Backbone
from featx.models.families import versions
from featx.probes.config import FitConfig
from featx.probes.evaluation import fit_head
from featx.probes.halving import nested_order
from featx.recipes.budget import Priced
from featx.recipes.experiment import Experiment
from featx.recipes.stopwatch import Stopwatch
from featx.training.config import TrainConfig
from featx.training.standardized import SAMPLE
from featx.training.train import TrainResult, train

SECONDS = 4.0
"""About so long is one row tried, where its images are quick enough for `LEAST` of them."""

LEAST, BATCH = 8, 64
"""Fewest images that are tried, and the most in a batch."""

FIT_ROWS, FIT_COEFFICIENTS = 512, 1 << 14
"""Rows that softmax regression is tried on, fewer where more coefficients are fitted than so many."""

LEAST_FIT_ROWS, ROWS_PER_CLASS = 128, 4
"""Fewest rows that it is tried on, in all and per class, where there are so many."""

EPOCHS = 2
"""Of a tried training: the first warms up, the second is timed."""

STEPS = 4
"""Most steps of a timed epoch."""

RECORD_SECONDS = 1.0
"""What writing a training's curves and record takes."""

CHECKPOINT_BYTES = 2e8
"""Bytes a second that a checkpoint is written with: weights and momentum, after each epoch of a second and more."""


def price(experiment: Experiment, rows: Partition, network: Backbone, memo: Memo, say: Callable[[str], None]) -> Priced:
    """Return what a row takes with one seed, as a trial tells, or as the memo knows from an earlier one.

    Parameters
    ----------
    experiment : Experiment
        The row; its epochs are taken as they are.
    rows, network : Partition, Backbone
        What it is of.
    memo : Memo
        Remembers what was tried.
    say : callable
        Told what is tried.
    """
    about = _about(experiment, rows, network)
    known = memo.get("trial", about)
    if known is None:
        say(f"trying {experiment.name}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FeatxWarning)
            warnings.simplefilter("always", SlowPrecisionWarning)  # once per process, and here is the first time
            known = _tried(experiment, rows, network)
        memo.put("trial", about, known)
    epochs = experiment.how.epochs if isinstance(experiment.how, TrainConfig) else 0
    return Priced(experiment.name, known["once"], known["each"], known["epoch"], epochs)


def _tried(experiment: Experiment, rows: Partition, network: Backbone) -> dict[str, float]:
    if isinstance(experiment.how, TrainConfig):
        return _training(experiment.how, rows, network)
    thinned = experiment.rows.limit is not None or experiment.rows.per_class is not None
    return _fit(experiment, experiment.how, rows, network, is_drawn=thinned)


def _about(experiment: Experiment, rows: Partition, network: Backbone) -> dict[str, Any]:
    how = {**asdict(experiment.how), "seed": None, "epochs": None}
    if how.get("mode") == "scratch":
        how = {**how, "mode": "finetune", "lr": None}  # as long as fine-tuning all of it
    found: dict[str, Any] = jsonable(
        {
            "how": how,
            "layers": [str(layer) for layer in experiment.layers],
            "images": {name: [part.source.fingerprint(), len(part)] for name, part in rows.parts().items()},
            "thinned": [experiment.rows.limit, experiment.rows.per_class],
            "network": [network.name, network.options, network.code, network.preprocess.as_dict()],
            "extraction": asdict(experiment.extraction),
            "device": str(pick_device(_device(experiment))),
            "threads": torch.get_num_threads(),
            "versions": versions(network.name),
        }
    )
    return found


def _device(experiment: Experiment) -> str:
    return experiment.how.device if isinstance(experiment.how, TrainConfig) else experiment.extraction.device


def _fit(
    experiment: Experiment, how: FitConfig, rows: Partition, network: Backbone, *, is_drawn: bool
) -> dict[str, float]:
    """Time the features of a few images, and the fit on them."""
    start, image, X, y = _features(rows.train, network, experiment.layers, experiment.extraction)
    images = sum(len(source) for source in rows.sources().values())
    features = start + image * images
    device = experiment.extraction.device
    fits = sum(_softmax(found, y, how, rows, device) for found in X.values())
    # Rows that the seed chooses are other images with each seed.
    return {"once": 0.0 if is_drawn else features, "each": fits + (features if is_drawn else 0.0), "epoch": 0.0}


def _features(
    part: Part, network: Backbone, layers: tuple[Feature, ...], how: ExtractConfig
) -> tuple[float, float, dict[str, Any], npt.NDArray[np.int64]]:
    """Return the seconds before the first image and of each, and the features and labels of those that were tried."""
    config = replace(how, batch_size=min(how.batch_size or BATCH, BATCH))

    def once(count: int) -> dict[str, Any]:
        source = part.source.subset(part.rows[_spread(part, count)])
        found = compute(source, network, layers, config, on_skip=lambda row, reason: None)
        parts = made_of(layers, found)
        return {name: np.concatenate([found[part] for part in some], axis=1) for name, some in parts.items()}

    once(2)  # loads what has to be loaded
    counts, seconds, image, X = [0], [0.0], 0.0, dict[str, Any]()
    for most in (LEAST, BATCH, FIT_ROWS):
        affordable = SECONDS / image if image else LEAST
        count = min(len(part), most, int(affordable))
        if count < 2 * counts[-1]:
            break
        taken, X = _timed(functools.partial(once, count))
        # Of images alone, as soon as there are two counts: what comes before the first is taken once.
        image = max(taken - seconds[-1], 1e-9) / (count - counts[-1])
        counts, seconds = [*counts, count], [*seconds, taken]
    start = seconds[-1] - counts[-1] * image
    return max(0.0, start), image, X, part.labels[_spread(part, counts[-1])]


def _softmax(X: npt.NDArray[Any], y: npt.NDArray[np.int64], how: FitConfig, rows: Partition, device: str) -> float:
    """Return the seconds of a fit with all that it chooses, from one on as many rows as a trial has time for."""
    n_train, n_val, classes = len(rows.train), len(rows.val), len(rows.classes)
    share = min(1.0, FIT_COEFFICIENTS / (X.shape[1] * classes))
    tried = min(n_train + n_val, max(int(share * FIT_ROWS), LEAST_FIT_ROWS, ROWS_PER_CLASS * classes))
    X, y = _more(X, y, tried)
    every = np.unique(rows.train.labels)
    if len(np.unique(y)) < len(every):  # so slow a network that few images were tried
        y = np.resize(every, tried)
    n = min(max(1, round(tried * n_train / (n_train + n_val))), tried - (n_val > 0))
    data = {"train": (X[:n], y[:n]), "val": (X[n:], y[n:]), "test": (X[:0], y[:0])}
    seconds, _ = _timed(lambda: fit_head(data, how, classes, str(pick_device(device))))
    return float(seconds * (n_train + n_val) / tried)


def _more(
    X: npt.NDArray[Any], y: npt.NDArray[np.int64], count: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return so many rows, of all classes first, and their labels; beyond those that there are, some like them."""
    order = np.resize(nested_order(y, 0), count)
    found = np.asarray(X[order], np.float32)
    again = found[len(X) :]
    again += (0.1 * X.std() + 1e-6) * np.random.default_rng(0).standard_normal(again.shape)
    return found, y[order]


def _training(how: TrainConfig, rows: Partition, network: Backbone) -> dict[str, float]:
    """Time the steps of an epoch, and what is before and after it."""
    how = replace(how, epochs=EPOCHS, warmup_epochs=0, patience=None, init_head=None, seed=rows.seed)
    few = min(len(rows.train), LEAST)
    _, image, _ = _epochs(how, rows, network, few, few)
    affordable = max(few, int(SECONDS / EPOCHS / image))
    size = min(how.batch_size, len(rows.train), affordable)
    many = size * max(1, min(STEPS, len(rows.train) // size, max(2, affordable // size)))
    result, image, watch = _epochs(how, rows, network, many, size)
    spent, scored = result.seconds, max(1, min(many, len(rows.val)))
    counts = {name: len(part) for name, part in rows.parts().items()}
    score = (watch.validation if len(rows.val) else spent["test"]) / (scored if len(rows.val) else many)
    read = (spent.get("read") or spent.get("extract", 0.0)) / (many + (scored if len(rows.val) else 0))
    standardize = spent.get("standardize", 0.0) / many * min(counts["train"], SAMPLE)
    every = sum(counts.values())
    epoch = watch.start + image * counts["train"] + score * counts["val"]
    saved = 2 * 4 * result.parameters["total"] / CHECKPOINT_BYTES if epoch > 1 else 0.0
    each = spent["build"] + standardize + (read + score) * every + RECORD_SECONDS
    return {"once": 0.0, "each": each, "epoch": epoch + saved}


def _epochs(
    how: TrainConfig, rows: Partition, network: Backbone, count: int, size: int
) -> tuple[TrainResult, float, Stopwatch]:
    """Train on so few images, and return what came of it, the seconds of an image in a step, and all that was timed."""
    watch = Stopwatch()
    result = train(_few(rows, count), network, replace(how, batch_size=size), progress=watch)
    return result, watch.step / size, watch


def _few(rows: Partition, count: int) -> Partition:
    """Return so few rows of a partition, none to test on."""
    train, val = (Part(part.source, part.rows[_spread(part, min(count, len(part)))]) for part in (rows.train, rows.val))
    return replace(rows, train=train, val=val, test=Part(rows.test.source, rows.test.rows[:0]))


def _spread(part: Part, count: int) -> npt.NDArray[np.intp]:
    """Return so many places in a part, from all over it: of as many classes as there are, where there are as many."""
    if not count:
        return np.empty(0, np.intp)
    _, firsts = np.unique(part.labels, return_index=True)
    others = np.setdiff1d(np.linspace(0, len(part) - 1, count).astype(np.intp), firsts)
    found: npt.NDArray[np.intp] = np.sort(np.concatenate([firsts, others])[: max(count, 2)])
    return found


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result
