"""A training made ready: checked, its network built, its images decoded or the features of its frozen base at hand."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from featx.cache.store import FeatureStore
from featx.core.run_folder import Runs
from featx.core.specs import Progress, Views
from featx.data.batch_loader import image_shape
from featx.data.splits import Part, Partition, missing_classes_of
from featx.errors import FeatxWarning, OptionError, SourceError, either, first_few
from featx.graph.placing import placed
from featx.models.backbones import Backbone
from featx.models.own_head import no_head
from featx.models.parts import channels_last
from featx.training.batches import (
    FeatureLoader,
    ImageLoader,
    Loaders,
    feature_loaders,
    image_loaders,
    shared_feature_loaders,
)
from featx.training.checkpoints import Checkpoints
from featx.training.clock import Clock
from featx.training.config import TrainConfig
from featx.training.direction import Augmentation, augmentation_of
from featx.training.init_head import begin_head
from featx.training.replicas import device_of
from featx.training.standardized import Standardized, standardize
from featx.training.trainable import TrainableModel, trainable_of
from featx.training.world import ALONE, World


@dataclass(frozen=True)
class Learner:
    """What is run on each batch, on the device.

    Parameters
    ----------
    module : nn.Module
        Maps a batch of inputs to logits: the network, or its head where features are cached.
    head : nn.Module
        The head in it, which may have a learning rate of its own.
    eval_modules : list of nn.Module
        What of it stays in eval mode.
    standardized : Standardized, optional
        What stands in the head's place while it learns on standardised features.
    """

    module: nn.Module
    head: nn.Module
    eval_modules: list[nn.Module]
    standardized: Standardized | None = None

    @property
    def rates(self) -> Mapping[nn.Parameter, float]:
        """What the learning rates of some parameters are multiplied by."""
        return {} if self.standardized is None else {self.standardized.first.weight: self.standardized.rate}

    def fold(self) -> None:
        """Let the head take features as they are."""
        if self.standardized is not None:
            self.standardized.fold()


@dataclass(frozen=True)
class Task:
    """All that a training needs.

    Parameters
    ----------
    model : TrainableModel
        The whole network.
    learner : Learner
        What of it is run on each batch.
    loaders : dict
        Inputs of each part.
    cached : bool
        Whether these are features, the frozen base having run already.
    skipped : list of dict
        ``id`` and ``reason`` of images left out.
    n_classes : int
        Of the partition.
    config : TrainConfig
        As asked for, with the augmentation that `augmentation` says.
    augmentation : Augmentation
        As asked, or as suits the mode and the source.
    device : torch.device
        Where it runs.
    clock : Clock
        Has run since the start.
    progress : callable
        Told of the images done.
    checkpoints : Checkpoints, optional
        Where the state is saved.
    world : World
        The processes that share each batch.
    """

    model: TrainableModel
    learner: Learner
    loaders: Loaders
    cached: bool
    skipped: list[dict[str, str]]
    n_classes: int
    config: TrainConfig
    augmentation: Augmentation
    device: torch.device
    clock: Clock
    progress: Progress
    checkpoints: Checkpoints | None
    world: World = ALONE


def prepare(
    partition: Partition,
    backbone: Backbone,
    config: TrainConfig,
    *,
    store: FeatureStore | None,
    progress: Progress,
    checkpoints: Checkpoints | None,
    runs: Runs,
    world: World = ALONE,
) -> Task:
    """Check, build and load all that a training needs; parameters and errors as of `featx.training.train.train`."""
    clock, device = Clock(), device_of(config.device, world)
    world.check_batch(config.batch_size)
    _check(partition, backbone)
    augmentation = augmentation_of(config, partition.train.source)
    config = replace(config, augment=augmentation.kind)
    with clock("build"):
        model = _build(partition, backbone, config, runs)
    cached = config.sees_the_same and model.can_learn_on_features
    with clock("extract" if cached else "read"):
        if cached:
            load = functools.partial(feature_loaders, partition, backbone, model.layer, store, config, device, progress)
            loaders, skipped = shared_feature_loaders(world, partition, device, load)
        else:
            loaders, skipped = image_loaders(partition, backbone, config, device, world)
    _check_taught(partition, loaders["train"].part)
    module = placed(model.head if cached else channels_last(model.network), device)
    learner = Learner(module, model.head, [] if cached else model.eval_modules)
    if config.mode == "frozen":
        with clock("standardize"):
            learner = _on_standardized(learner, model, loaders["train"], config, world)
    return Task(
        model=model,
        learner=learner,
        loaders=loaders,
        cached=cached,
        skipped=skipped,
        n_classes=len(partition.classes),
        config=config,
        augmentation=augmentation,
        device=device,
        clock=clock,
        progress=progress,
        checkpoints=checkpoints,
        world=world,
    )


def _build(partition: Partition, backbone: Backbone, config: TrainConfig, runs: Runs) -> TrainableModel:
    """Build the network, its head begun as a run left it where that is asked for."""
    shape = image_shape(partition.train.source, backbone.preprocess)
    model = trainable_of(backbone, config, len(partition.classes), shape)
    if config.init_head is not None:
        run = runs.open(config.init_head)
        begin_head(model, run, backbone, config.head, partition.classes, shape)
    return model


def _on_standardized(
    learner: Learner, model: TrainableModel, loader: ImageLoader | FeatureLoader, config: TrainConfig, world: World
) -> Learner:
    """Let a frozen base's head learn on standardised features: alone, or where it stands in the network."""
    standard = standardize(model, learner.module, loader, config)
    standard.rate = world.share(standard.rate)  # what else was measured is sent with the weights
    module = standard if learner.module is model.head else learner.module
    return replace(learner, module=module, standardized=standard)


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
            f"no training image of {first_few(lost)} could be read: it cannot be learnt", FeatxWarning, stacklevel=4
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
