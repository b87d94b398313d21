"""A short trial: how long a fit or a training takes here, from a few batches of its images."""

from __future__ import annotations

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
from featx.core.device import pick_device
from featx.core.run_folder import jsonable
from featx.core.specs import ExtractConfig
from featx.data.splits import Part, Partition
from featx.errors import FeatxWarning
from featx.extraction.compute import compute
from featx.models.backbones import Backbone
from featx.models.families import versions
from featx.probes.config import SWEEPS, FitConfig
from featx.probes.evaluation import fit_head
from featx.probes.halving import HALVED_CS
from featx.recipes.budget import Priced
from featx.recipes.experiment import Experiment
from featx.training.config import TrainConfig
from featx.training.standardized import SAMPLE
from featx.training.train import train

SECONDS = 4.0
"""About so long is one row tried, where its images are quick enough for `LEAST` of them."""

LEAST, BATCH = 8, 64
"""Fewest images that are tried, and the most in a batch."""

FIT_ROWS, FIT_COLUMNS = 512, 1024
"""Rows that softmax regression is tried on, fewer of wider features; more take as much longer as there are more."""

EPOCHS = 2
"""Of a tried training: the first warms up, the second is timed."""

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
    """Time the features of a few images, and a fit on some rows as wide."""
    start, image, X = _features(rows.train, network, experiment.layers, experiment.extraction)
    images = sum(len(source) for source in rows.sources().values())
    features = start + image * images
    fits = sum(_softmax(found, how, rows, experiment.extraction.device) for found in X.values())
    # Rows that the seed chooses are other images with each seed.
    return {"once": 0.0 if is_drawn else features, "each": fits + (features if is_drawn else 0.0), "epoch": 0.0}


def _features(
    part: Part, network: Backbone, layers: tuple[Feature, ...], how: ExtractConfig
) -> tuple[float, float, dict[str, Any]]:
    """Return the seconds before the first image and of each, and the features of those that were tried."""
    config = replace(how, batch_size=min(how.batch_size or BATCH, BATCH))

    def once(count: int) -> dict[str, Any]:
        source = part.source.subset(_spread(part, count))
        found = compute(source, network, layers, config, on_skip=lambda row, reason: None)
        parts = made_of(layers, found)
        return {name: np.concatenate([found[part] for part in some], axis=1) for name, some in parts.items()}

    once(2)  # loads what has to be loaded
    few = min(LEAST, len(part))
    started, X = _timed(lambda: once(few))
    many = min(len(part), BATCH * 2, few + int(few * SECONDS / max(started, 1e-3)))
    if many < 2 * few:
        return 0.0, started / few, X
    seconds, X = _timed(lambda: once(many))
    image = max(0.0, seconds - started) / (many - few)
    return max(0.0, seconds - many * image), image, X


def _softmax(X: npt.NDArray[Any], how: FitConfig, rows: Partition, device: str) -> float:
    """Return the seconds of a fit, from one with one C on as many rows as a trial has time for."""
    n, columns = len(rows.train), X.shape[1]
    tried = min(n, max(FIT_ROWS // 4, FIT_ROWS * FIT_COLUMNS // max(columns, FIT_COLUMNS)))
    random = np.random.default_rng(0)
    wide = _more(X, tried, random)
    y = random.permutation(np.resize(np.unique(rows.train.labels), tried))
    data = {"train": (wide, y), "val": (wide[:0], y[:0]), "test": (wide[:0], y[:0])}
    one = replace(how, sweep=None, halving=False, standardize=how.standardize and how.sweep is None)
    seconds, _ = _timed(lambda: fit_head(data, one, len(rows.classes), str(pick_device(device))))
    return float(seconds * _fits(how) * n / tried)


def _fits(how: FitConfig) -> int:
    """Return how often a fit is made: with each C that is tried, and twice with the one that is chosen."""
    if how.halving:
        return len(HALVED_CS)  # at most: as often as there are candidates, most of them on few rows
    sweep = SWEEPS.get(how.sweep or "")
    return 1 if sweep is None else len(sweep.Cs) + 2 * sweep.halvings + 2


def _more(X: npt.NDArray[Any], count: int, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return so many rows like those of X: repeated, and no two alike."""
    found = np.resize(X, (count, X.shape[1]))
    noise = random.standard_normal(found.shape)
    return np.asarray(found + (0.1 * X.std() + 1e-6) * noise, np.float32)


def _training(how: TrainConfig, rows: Partition, network: Backbone) -> dict[str, float]:
    """Time two epochs of a few images."""
    how = replace(how, epochs=EPOCHS, warmup_epochs=0, patience=None, init_head=None, seed=rows.seed)
    few = min(len(rows.train), max(LEAST, 2))
    taken, _ = _timed(lambda: train(_few(rows, few), network, replace(how, batch_size=few)))
    many = min(len(rows.train), 2 * min(how.batch_size, BATCH), int(few * SECONDS / max(taken, 1e-3)))
    many = max(few, many)
    result = train(_few(rows, many), network, replace(how, batch_size=min(how.batch_size, many)))
    spent, scored = result.seconds, max(1, min(many, len(rows.val)))
    counts = {name: len(part) for name, part in rows.parts().items()}
    image = min(line["seconds"] for line in result.history) / many
    score = spent.get("validate", EPOCHS * spent["test"]) / (EPOCHS * scored)
    read = spent.get("read", 0.0) / (many + scored)
    standardize = spent.get("standardize", 0.0) / many * min(counts["train"], SAMPLE)
    every = sum(counts.values())
    epoch = image * counts["train"] + score * counts["val"]
    saved = 2 * 4 * result.parameters["total"] / CHECKPOINT_BYTES if epoch > 1 else 0.0
    each = spent["build"] + standardize + (read + score) * every + RECORD_SECONDS
    return {"once": 0.0, "each": each, "epoch": epoch + saved}


def _few(rows: Partition, count: int) -> Partition:
    """Return so few rows of a partition, none to test on."""
    val = Part(rows.val.source, _spread(rows.val, min(count, len(rows.val))))
    return replace(
        rows,
        train=Part(rows.train.source, _spread(rows.train, count)),
        val=val,
        test=Part(rows.test.source, rows.test.rows[:0]),
    )


def _spread(part: Part, count: int) -> Any:
    """Return so many of a part's rows, from all over it: of as many classes as there are, where there are as many."""
    if not count:
        return part.rows[:0]
    _, firsts = np.unique(part.labels, return_index=True)
    others = np.setdiff1d(np.linspace(0, len(part) - 1, count).astype(np.int64), firsts)
    return np.sort(part.rows[np.concatenate([firsts, others])[: max(count, 2)]])


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result
