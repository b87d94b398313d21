"""The whole comparison on built-in data: learn five digits, then five others with little to learn from.

The digits are shown at random places of a larger image. Where an image tells little by its single pixels, and few of
them are labelled, a network that has learnt to see is worth having: that is what the comparison is about.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from featx.cache.memo import Memo
from featx.cache.store import FeatureStore
from featx.core.lone_threads import one_thread
from featx.core.outputs import write_output
from featx.core.run_folder import MODEL_FILE
from featx.core.specs import BackboneConfig, ExtractConfig, LayerSpec
from featx.core.statistics import wilson_interval
from featx.data.arrays import ArraySource
from featx.data.sources import Source, load_source
from featx.data.splits import Part, Partition, hold_out, subsample
from featx.models.backbones import resolve
from featx.probes.config import FitConfig
from featx.probes.probe import fit_probe
from featx.reports.figures import accuracy_bars
from featx.runs.record import new_run, record_fit, record_train
from featx.training.config import TrainConfig
from featx.training.train import train

NETWORK = "lenet5"
PER_CLASS = 15
"""Images of each new digit to learn from: few, as in transfer learning."""

CANVAS, SIDE = 32, 18
"""Sides of the images and of the digits in them, px."""

COPIES = 4
"""Places at which each known digit is shown."""

PRETRAIN = TrainConfig(mode="scratch", epochs=20, batch_size=32, lr=0.02, augment="none")
SCRATCH = TrainConfig(mode="scratch", epochs=60, batch_size=8, lr=0.02, augment="none")
FINETUNE = TrainConfig(mode="finetune", epochs=60, batch_size=8, lr=0.01, augment="none")
PROBE = FitConfig(C=0.1)


class Demo:
    """One comparison.

    Parameters
    ----------
    home : Path
        featx's home folder, where features and runs are kept.
    command : list of str
        For the record.
    say : callable
        Told what is being done.
    """

    def __init__(self, home: Path, command: list[str], say: Callable[[str], None]) -> None:
        self.home, self.command, self.say = home, command, say
        self.memo, self.store = Memo(home), FeatureStore(home)
        digits = load_source("digits")
        self.known = _parts(digits, 0, copies=COPIES)
        self.new = _parts(digits, 5, per_class=PER_CLASS)

    def run(self, picture: Path) -> list[dict[str, Any]]:
        """Run everything, write the picture, and return one row per run."""
        self.say(f"{NETWORK} learns the digits 0 to 4, at random positions, from {len(self.known.train)} images")
        first = self.train("trained on 0 to 4", self.known, PRETRAIN, f"random:{PRETRAIN.seed}")
        learnt = str(Path(first["path"]) / MODEL_FILE)
        self.say(f"then 5 to 9 from {len(self.new.train)} images: {PER_CLASS} per class, minus those held out")
        rows = [
            self.fit("softmax on raw pixels", "pixels", "pixels", BackboneConfig.weights),
            self.fit("softmax on random features", NETWORK, "pool2", "random:1"),
            self.fit("softmax on frozen conv layers", NETWORK, "pool2", learnt),
            self.fit("softmax on frozen fc layers", NETWORK, "relu4", learnt),
            self.train("fine-tuned", self.new, FINETUNE, learnt),
            self.train("from scratch", self.new, SCRATCH, f"random:{SCRATCH.seed}"),
        ]
        title = f"Digits 5 to 9 from {PER_CLASS} images per class, by a network pretrained on 0 to 4"
        write_output(picture, accuracy_bars(rows, title))
        return [first, *rows]

    def fit(self, name: str, backbone: str, layer: str, weights: str) -> dict[str, Any]:
        """Fit softmax regression on one layer for the new digits."""
        network = resolve(backbone, weights=weights, channels=1, memo=self.memo)
        spec = LayerSpec.parse(layer)
        with new_run(self.home, "fit", self.command) as run:
            result = fit_probe(self.new, network, spec, self.store, config=PROBE)
            record = record_fit(run, self.new, network, spec, ExtractConfig(), result)
        return self._row(name, "fit", record)

    def train(self, name: str, parts: Partition, config: TrainConfig, weights: str) -> dict[str, Any]:
        """Train the network end to end."""
        network = resolve(NETWORK, weights=weights, channels=1, memo=self.memo)
        with new_run(self.home, "train", self.command) as run:
            result = train(parts, network, config, store=self.store)
            record = record_train(run, parts, network, config, result)
        return self._row(name, "train", record)

    def _row(self, name: str, kind: str, record: dict[str, Any]) -> dict[str, Any]:
        self.say(f"{name}: test accuracy {record['accuracy']['test']:.3f}")
        accuracy = record["accuracy"]["test"]
        return {
            "name": name,
            "kind": kind,
            "run": record["run"],
            "path": record["path"],
            "train_images": record["images"],
            "test_images": record["rows"]["test"],
            "parameters": record["parameters"]["trainable"],
            "accuracy": accuracy,
            "interval": list(wilson_interval(accuracy, record["rows"]["test"])),
            "loss": record["loss"]["test"],
            "seconds": record["seconds"]["total"],
        }


def _parts(digits: Source, first: int, *, per_class: int | None = None, copies: int = 1) -> Partition:
    """Return the digits first to first + 4, labelled 0 to 4: half to test on, the rest, or few of it, to learn from.

    Each digit is in one part; training digits are shown `copies` times, at different places.
    """
    seed = PRETRAIN.seed
    five = np.flatnonzero((digits.labels >= first) & (digits.labels < first + 5))
    labels, hashes = digits.labels[five] - first, digits.row_hashes()[five]
    test = hold_out(hashes, labels, 0.5, seed)
    rest = np.flatnonzero(~test)
    if per_class is not None:
        rest = rest[subsample([digits.ids[i] for i in five[rest]], labels[rest], per_class=per_class, seed=seed)]
    val = hold_out(hashes[rest], labels[rest], 0.2, seed)
    chosen = [np.repeat(rest[~val], copies), rest[val], np.flatnonzero(test)]
    rows = np.concatenate(chosen)
    random = np.random.default_rng([seed, first])
    source = ArraySource(
        np.stack([_placed(digits[int(i)][0], random) for i in five[rows]]),
        labels[rows],
        classes=digits.classes[first : first + 5],
        ids=[f"{digits.ids[i]}-{number}" for number, i in enumerate(five[rows])],
        spec=f"digits {first}-{first + 4}, {SIDE} of {CANVAS} px",
    )
    ends = np.cumsum([len(part) for part in chosen])
    train, held, scored = (Part(source, np.arange(end - len(p), end)) for p, end in zip(chosen, ends, strict=True))
    return Partition(train, held, scored, seed)


def _placed(digit: npt.NDArray[np.uint8], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return the digit, enlarged, at a random place of a black image."""
    large = Image.fromarray(digit.reshape(digit.shape[:2])).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    canvas = np.zeros((CANVAS, CANVAS), np.uint8)
    y, x = random.integers(0, CANVAS - SIDE + 1, 2)
    canvas[y : y + SIDE, x : x + SIDE] = np.asarray(large)
    return canvas


def run_demo(home: Path, command: list[str], picture: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the demonstration and return ``rows``, ``seconds`` and the ``picture``'s path."""
    began = time.perf_counter()
    # Batches of eight small images: more threads would wait for each other, on a busy machine for minutes.
    with one_thread():
        rows = Demo(home, command, say).run(picture)
    return {"rows": rows, "picture": str(picture), "seconds": time.perf_counter() - began}
