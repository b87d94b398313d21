"""The rows of a comparison: the same images, learnt from in all the ways that there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from featx.core.backbone_names import PIXELS
from featx.core.concatenation import Feature
from featx.core.specs import BackboneConfig, LayerSpec
from featx.data.splits import Partition
from featx.errors import OptionError, SourceError, first_few
from featx.probes.config import FitConfig, Preset
from featx.recipes.asked import Asked
from featx.recipes.experiment import Experiment
from featx.recipes.network_choice import Look, Network, side_of
from featx.training.config import TrainConfig
from featx.training.direction import augmentation_of

PRIORITY = ("pixels", "softmax", "finetune", "last-block", "frozen", "scratch")
"""The most telling first: what is run first, and given up last."""

SWEEP: Preset = "clip"
"""How softmax regression's C is chosen: by halving the interval around the best one, in few fits."""

PIXELS_PX = 16
"""Larger images are shown to the row on raw pixels at so many px. Of 5,000 colour images, a fit with one C from 1e-4 to
100 takes 0.5 to 1.2 s of processor time on 768 values, 10 s and more on the 3,072 of 32 px, and a sweep makes 17."""

STEPS = {"frozen": 300, "finetune": 300, "scratch": 1000}
LONGEST = {"frozen": 150, "finetune": 150, "scratch": 300}
LEAST_STEPS = 150
SCRATCH_FACTOR = 3
"""A training has so many steps at least, unless that takes more than so many epochs; never fewer than the usual number
of epochs, and from scratch three times as many. With much less than `LEAST_STEPS` fine-tuning has no chance:
EfficientNet-lite0 on 270 images of CIFAR-10 reaches 0.42 in 60 steps, 0.52 in 125 and 0.50 in 250, where softmax on its
features has 0.51."""

FEW = 5
"""From scratch is left out where a class has fewer training images."""


@dataclass(frozen=True)
class Row:
    """One row of a comparison.

    Parameters
    ----------
    kind : str
        One of `featx.recipes.asked.KINDS`.
    experiment : Experiment
        What is done.
    layer : str
        The layer that softmax regression stands on; empty for the others.
    """

    kind: str
    experiment: Experiment
    layer: str = ""


@dataclass(frozen=True)
class Rows:
    """All rows of a comparison.

    Parameters
    ----------
    rows : tuple of Row
        In the order of the table.
    left_out : tuple of str
        Which are not among them, and why, in words.
    """

    rows: tuple[Row, ...]
    left_out: tuple[str, ...]

    @property
    def by_priority(self) -> tuple[Row, ...]:
        """The most telling first; of several layers the last, which is the default one."""
        place = {row.experiment.name: at for at, row in enumerate(self.rows)}
        return tuple(sorted(self.rows, key=lambda row: (PRIORITY.index(row.kind), -place[row.experiment.name])))


def rows_of(asked: Asked, network: Network, look: Look, parts: Partition) -> Rows:
    """Return the rows that make sense for these images and this network, and say which do not.

    Raises
    ------
    OptionError
        None is left.
    """
    left_out = dict(_senseless(asked, network, look, parts))
    make = _Maker(asked, network, look, parts)
    rows = [row for kind in asked.kinds if kind not in left_out for row in make.of(kind)]
    said = tuple(dict.fromkeys(why for kind, why in left_out.items() if kind in asked.kinds))
    if not rows:
        raise OptionError(f"nothing is left to compare: {'; '.join(said)}", "leave --only and --without out")
    return Rows(tuple(rows), said)


def _senseless(asked: Asked, network: Network, look: Look, parts: Partition) -> Iterable[tuple[str, str]]:
    """Give the rows that would tell nothing here, each with why, unless it is asked for by name."""
    if not (asked.layers or look.layers):
        yield "softmax", f"softmax left out: {network.name} has no layer that its classifier takes (-l LAYER)"
    if not look.last_block:
        yield "last-block", f"fine-tuning the last block left out: no block of {network.name} could be told"
    if not network.is_pretrained:
        why = "fine-tuning left out: no weights are pretrained, it would be training from scratch"
        yield from ((kind, why) for kind in ("finetune", "last-block") if kind not in asked.only)
    few = _smallest(parts)
    if few is not None and few[1] < FEW and "scratch" not in asked.only:
        yield "scratch", f"from scratch left out: class {few[0]} has {few[1]} training images, expected {FEW} or more"


def _smallest(parts: Partition) -> tuple[str, int] | None:
    """Return the class with the fewest training images, of those that have any, and how many."""
    labels, counts = np.unique(parts.train.labels, return_counts=True)
    at = int(np.argmin(counts)) if len(counts) else None
    return None if at is None else (first_few([parts.classes[labels[at]]]), int(counts[at]))


def check_classes(parts: Partition) -> None:
    """Refuse images of one class, before anything is tried.

    Raises
    ------
    SourceError
        Nothing can be learnt from the training rows.
    """
    if len(np.unique(parts.train.labels)) < 2:
        raise SourceError("the training rows hold one class, expected two or more", "give images of another class")


def without_validation(parts: Partition) -> str:
    """Say what becomes of the choices where no row validates; empty where some do."""
    if len(parts.val):
        return ""
    return f"no validation rows: softmax regression has C = {FitConfig.C:g}, and the last epoch's weights are kept"


def too_few_steps(asked: Asked, parts: Partition) -> str:
    """Say where the epochs that were asked for leave trainings no chance; empty elsewhere."""
    images = len(parts.train)
    steps = -(-images // asked.batch_size)
    trains = [kind for kind in asked.kinds if kind not in ("pixels", "softmax")]
    if asked.epochs is None or not trains or asked.epochs * steps >= LEAST_STEPS:
        return ""
    return (
        f"warning: {asked.epochs} epochs of {images} images are {asked.epochs * steps} steps, too few to judge "
        f"trainings by: leave --epochs out, or give {-(-LEAST_STEPS // steps)} or more"
    )


def epochs_for(mode: str, images: int, batch_size: int) -> int:
    """Return how many epochs suit a number of training images.

    Examples
    --------
    >>> epochs_for("finetune", 400, 64), epochs_for("finetune", 50_000, 64), epochs_for("scratch", 400, 64)
    (43, 10, 143)
    """
    steps = -(-images // batch_size)
    least = TrainConfig.epochs * (SCRATCH_FACTOR if mode == "scratch" else 1)
    return max(least, min(LONGEST[mode], -(-STEPS[mode] // max(1, steps))))


class _Maker:
    """Makes the rows of each kind."""

    def __init__(self, asked: Asked, network: Network, look: Look, parts: Partition) -> None:
        self.asked, self.network, self.look, self.parts = asked, network, look, parts
        self.source = parts.train.source
        self.fit = FitConfig(sweep=SWEEP) if len(parts.val) else FitConfig()

    def of(self, kind: str) -> Sequence[Row]:
        """Return the rows of one kind."""
        if kind == "pixels":
            return [self._pixels()]
        if kind == "softmax":
            return [self._softmax(layer) for layer in self.asked.layers or self.look.layers]
        return [Row(kind, self._training(kind))]

    def _pixels(self) -> Row:
        side = side_of(self.source)
        px = PIXELS_PX if side is None else min(side, PIXELS_PX)
        how = self.network.how
        plain = BackboneConfig(size=px, resize=how.resize, interpolation=how.interpolation, bits=how.bits)
        name = "softmax on raw pixels" + (f", {px} px" if px != side else "")
        return Row("pixels", self._experiment(name, PIXELS, self.fit, plain, (LayerSpec(PIXELS),)), PIXELS)

    def _softmax(self, layer: Feature) -> Row:
        drawn = "" if self.network.is_pretrained else "random "
        name = f"softmax on {'the best of ' if layer.is_pattern else ''}{drawn}{layer}"
        made = self._experiment(name, self.network.name, self.fit, self.network.how, (layer,))
        return Row("softmax", made, str(layer))

    def _training(self, kind: str) -> Experiment:
        mode = {"frozen": "frozen", "scratch": "scratch"}.get(kind, "finetune")
        block = self.look.last_block if kind == "last-block" else None
        extraction = self.asked.extraction
        how = TrainConfig(
            mode=mode,  # type: ignore[arg-type]
            unfreeze_from=block,
            epochs=self.asked.epochs or epochs_for(mode, len(self.parts.train), self.asked.batch_size),
            batch_size=self.asked.batch_size,
            precision=extraction.precision,
            device=extraction.device,
            on_error=extraction.on_error,
        )
        if kind == "frozen":  # else it would be one more head on features that never change
            how = replace(how, augment=augmentation_of(replace(how, mode="finetune"), self.source).kind)
        drawn = "" if self.network.is_pretrained else "random "
        names = {
            "frozen": f"head on frozen {drawn}base, augmented images",
            "last-block": f"last block fine-tuned, from {block}",
            "finetune": "all fine-tuned",
            "scratch": "from scratch",
        }
        return self._experiment(names[kind], self.network.name, how, self._network(kind))

    def _network(self, kind: str) -> BackboneConfig:
        """Return how the network is looked up; from scratch with new weights, and the same preprocessing."""
        how = self.network.how
        if kind != "scratch":
            return how
        seen = self.network.backbone.preprocess
        weights = BackboneConfig.weights
        return replace(how, weights=weights, mean=seen.mean, std=seen.std, interpolation=seen.interpolation)

    def _experiment(
        self,
        name: str,
        backbone: str,
        how: FitConfig | TrainConfig,
        network: BackboneConfig,
        layers: tuple[Feature, ...] = (),
    ) -> Experiment:
        return Experiment(
            name=name,
            source=self.asked.source,
            backbone=backbone,
            how=how,
            layers=layers,
            network=network,
            extraction=self.asked.extraction,
            rows=self.asked.rows,
            seeds=self.asked.seeds,
        )
