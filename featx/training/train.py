"""End-to-end training: from scratch, with a frozen base, or fine-tuned; one loop for all three."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from featx.cache.store import FeatureStore
from featx.core.device import pick_device
from featx.core.guessing import worse_than_guessing
from featx.core.metrics import Scores
from featx.core.run_folder import Runs
from featx.core.specs import LayerSpec, Progress, Views, no_progress
from featx.data.batch_loader import image_shape
from featx.data.splits import Part, Partition, missing_classes_of
from featx.errors import FeatxWarning, OptionError, SourceError, either, first_few
from featx.graph.placing import placed
from featx.models.backbones import Backbone
from featx.models.heads import count_parameters
from featx.models.own_head import no_head
from featx.models.torchvision_models import channels_last
from featx.training.batches import feature_loaders, image_loaders
from featx.training.checkpoints import Checkpoints
from featx.training.config import TrainConfig
from featx.training.direction import Augmentation, augmentation_of
from featx.training.init_head import begin_head
from featx.training.loop import Clock, Epoch, Loop
from featx.training.small_convolutions import unrolled
from featx.training.standardized import standardize
from featx.training.trainable import trainable_of


@dataclass
class TrainResult:
    """A trained network and how it came about.

    Parameters
    ----------
    module : nn.Module
        The whole network with its new head, as it was after the best epoch; eval mode, on the CPU.
    history : list of dict
        An entry an epoch: epoch, lr, train_loss, train_accuracy, val_loss, val_accuracy, seconds, images_per_second.
    best_epoch : int
        From 1; chosen by validation accuracy, the last where there is no validation part.
    scores : dict of str to Scores
        ``train``, ``val`` and ``test`` of the best epoch; test is scored once, at the end.
    parameters : dict
        ``total``, ``trainable``, ``frozen``; auxiliary heads that train are counted.
    seconds : dict
        By stage: ``build``, ``read`` or ``extract`` (frozen, on cached features), ``train``, ``validate``, ``test``,
        ``total``.
    images_per_second : float
        Training images a second, over all epochs, validation apart.
    cached : bool
        Whether a frozen base ran once instead of once an epoch.
    device : str
        Where it ran.
    scored : dict of str to Part
        The rows that were scored: those of the partition, without skipped images.
    augmentation : Augmentation
        How images were changed: as asked, or as suits the mode and the source.
    notes : list of str
        What the user should know: why images were not mirrored, losses above those of guessing.
    skipped : list of dict
        ``id`` and ``reason`` of images left out.
    resumed_from : float
        Epochs that were done when this process began.
    """

    module: nn.Module
    history: list[Epoch]
    best_epoch: int
    scores: dict[str, Scores]
    parameters: dict[str, int]
    seconds: dict[str, float]
    images_per_second: float
    cached: bool
    device: str
    scored: dict[str, Part]
    augmentation: Augmentation
    notes: list[str]
    skipped: list[dict[str, str]] = field(default_factory=list)
    resumed_from: int = 0

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """The class of each test row; empty where there are none."""
        return self.scores["test"].predicted if "test" in self.scores else np.empty(0, np.int64)

    @property
    def warnings(self) -> list[str]:
        """Those of the notes that say that something is wrong."""
        return self.notes if self.augmentation.misleads else [n for n in self.notes if n != self.augmentation.why]


def train(
    partition: Partition,
    backbone: Backbone,
    config: TrainConfig,
    *,
    store: FeatureStore | None = None,
    progress: Progress = no_progress,
    on_epoch: Callable[[Epoch], None] | None = None,
    checkpoints: Checkpoints | None = None,
    runs: Runs | None = None,
) -> TrainResult:
    """Train a network on ``partition.train``, choose the epoch on ``val``, score ``test`` once.

    Parameters
    ----------
    partition : Partition
        Disjoint rows; `test` may be empty.
    backbone : Backbone
        With random weights for ``scratch``.
    config : TrainConfig
        Mode and how long, how fast, how augmented.
    store : FeatureStore, optional
        Where the features of a frozen base are kept; without it they are computed in memory.
    progress : callable
        Told of the images done.
    on_epoch : callable
        Given each epoch's line of the history.
    checkpoints : Checkpoints, optional
        Where the state is saved, and gone on from where there is one.
    runs : Runs, optional
        Where ``init_head`` is looked for.

    A head on a frozen base learns on standardised features (`Standardized`), which are folded into it at the end: it
    takes features as they are.

    Raises
    ------
    FeatureError
        The loss became NaN or infinite; nothing was updated by it.
    OptionError
        For a backbone without classifier, a device that is not there, a size too small, or batches of one image that
        the network's batch norm cannot normalise.
    SourceError
        Fewer than two classes have training rows, or a label is outside of the classes.
    KeyboardInterrupt
        After the step was finished and the state saved.
    """
    clock = Clock()
    device = pick_device(config.device)
    _check(partition, backbone)
    augmentation = augmentation_of(config, partition.train.source)
    config = replace(config, augment=augmentation.kind)
    n_classes = len(partition.classes)
    shape = image_shape(partition.train.source, backbone.preprocess)
    with clock("build"):
        trainable = trainable_of(backbone, config, n_classes, shape)
        if config.init_head is not None:
            run = (runs or Runs()).open(config.init_head)
            begin_head(trainable, run, backbone, config.head, partition.classes, shape)
    parameters = count_parameters(trainable.network)
    cached = config.sees_the_same and trainable.alone and LayerSpec.can_name(trainable.layer)
    with clock("extract" if cached else "read"):
        if cached:
            loaders, skipped = feature_loaders(partition, backbone, trainable.layer, store, config, device, progress)
        else:
            loaders, skipped = image_loaders(partition, backbone, config, device)
    _check_taught(partition, loaders["train"].part)
    module = placed(trainable.head if cached else channels_last(trainable.network), device)
    standard = None
    if config.mode == "frozen":
        with clock("standardize"):
            standard = standardize(trainable, module, loaders["train"], config)
            module = standard if cached else module
    rates = {} if standard is None else {standard.first.weight: standard.rate}
    eval_modules = [] if cached else trainable.eval_modules
    loop = Loop(
        module, trainable.head, eval_modules, loaders, n_classes, config, device, clock, progress, checkpoints, rates
    )
    loop.resume()
    resumed_from = loop.state.epoch
    with unrolled(module):
        history, best_epoch = loop.run(on_epoch or (lambda line: None))
        if standard is not None:
            standard.fold()  # what is scored is what is kept
        scores = _final(loop)
    if standard is not None:
        trainable.network.set_submodule(trainable.place, trainable.head)
    trained = loop.rows * len(history) / max(clock.seconds.get("train", 0.0), 1e-9)
    return TrainResult(
        module=placed(trainable.strip(), torch.device("cpu")),
        history=history,
        best_epoch=best_epoch,
        scores=scores,
        parameters=parameters,
        seconds=clock.total(),
        images_per_second=trained,
        cached=cached,
        device=str(device),
        scored={name: loader.part for name, loader in loaders.items()},
        skipped=skipped,
        resumed_from=resumed_from,
        augmentation=augmentation,
        notes=_notes(augmentation, scores, config),
    )


def _notes(augmentation: Augmentation, scores: dict[str, Scores], config: TrainConfig) -> list[str]:
    worse = worse_than_guessing(scores, balanced=config.class_weight is not None, lr=config.peak_lr)
    return [said for said in (augmentation.why, worse) if said]


def _final(loop: Loop) -> dict[str, Scores]:
    """Score each part with the kept weights, each once."""
    with loop.clock("test"):
        return {part: loop.score(part) for part in loop.loaders}


def _check(partition: Partition, backbone: Backbone) -> None:
    if not backbone.head:
        if backbone.code is not None:
            raise no_head(backbone.name, backbone.module())
        raise OptionError(
            f"backbone {backbone.name} has no classifier to train",
            either("use `featx fit --pixels`", "put SoftmaxRegression on FeatureExtractor('pixels', 'pixels')"),
        )
    _check_classes(partition.train)
    if backbone.preprocess.views != Views():
        said = str(backbone.preprocess.views)
        raise OptionError(f"training sees one view of an image, and {said} were asked for", "average views in a fit")
    for part in partition.parts().values():
        _check_labels(part, len(partition.classes))


def _check_classes(train: Part) -> None:
    if len(np.unique(train.labels)) < 2:
        raise SourceError("the training rows hold one class, expected two or more", "give images of another class")


def _check_taught(partition: Partition, train: Part) -> None:
    """Say which classes no image is left of, where some could not be read."""
    _check_classes(train)
    lost = sorted({*missing_classes_of(train)} - {*missing_classes_of(partition.train)})
    if lost:
        warnings.warn(
            f"no training image of {first_few(lost)} could be read: it cannot be learnt", FeatxWarning, stacklevel=3
        )


def _check_labels(part: Part, n_classes: int) -> None:
    labels: Any = part.labels
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(wrong):
        row = int(part.rows[wrong[0]])
        raise SourceError(
            f"image {part.source.ids[row]} has label {labels[wrong[0]]}, expected 0 to {n_classes - 1}",
            "number the classes from 0, or leave the image out",
        )
