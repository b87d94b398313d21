"""EndToEndClassifier: training a whole network as a scikit-learn classifier."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from featx.cache.memo import Memo
from featx.cache.store import FeatureStore
from featx.core.backbone_names import scratch_weights
from featx.core.device import arithmetic, pick_device
from featx.core.specs import ExtractConfig, Interpolation, OnError, Precision, Resize, Stem
from featx.data.coverage import label_notes
from featx.data.splits import VAL_FRACTION, Part, Partition, hold_out
from featx.errors import FeatxWarning
from featx.extraction.inputs import Images, as_source, as_store, opened, relabelled, warn_of
from featx.graph.outputs import logits_of
from featx.graph.placing import placed
from featx.models.backbones import Backbone, resolve
from featx.training.batches import ImageLoader, chunks
from featx.training.config import AugmentName, ClassWeight, Mode, OptimizerName, ScheduleName, TrainConfig
from featx.training.train import train


class EndToEndClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network trained from scratch, with a frozen base, or fine-tuned.

    A stratified tenth of the training images, chosen by `seed` and content, picks the best epoch.

    Parameters
    ----------
    backbone : str
        Any torchvision classifier, ``timm:NAME``, ``lenet5``, or a factory as for `FeatureExtractor`.
    mode, unfreeze_from, head, init_head, epochs, batch_size, accumulate, optimizer, lr, head_lr_factor, momentum, \
    weight_decay, schedule, warmup_epochs, clip, label_smoothing, class_weight, augment, mixup, cutmix, patience, \
    precision, device, seed, on_error
        As `TrainConfig`, and as the options of ``featx train``.
    weights : str
        As `FeatureExtractor`; ``scratch`` draws from `seed`, unless ``random:SEED`` is given.
    stem : str, optional
        As `FeatureExtractor`.
    size : int, optional
        Image size in px.
    mean, std : sequence of float, optional
        Instead of those that belong to the weights.
    resize, interpolation : str, optional
        ``crop``, ``squash``, ``pad`` or ``none``, and ``bilinear`` or ``bicubic``; None as the weights were trained.
    bits : int, optional
        How many bits of 16-bit images count, such as 12; None as the files say, else all.
    store : FeatureStore or path, optional
        Keeps the features of a frozen base.

    Attributes
    ----------
    classes_ : ndarray
        Labels, sorted.
    history_ : list of dict
        An entry an epoch.
    best_epoch_ : int
        From 1.
    module_ : nn.Module
        The trained network, in eval mode.

    Examples
    --------
    >>> from featx import load_source
    >>> digits = load_source("digits", limit=60)
    >>> model = EndToEndClassifier("lenet5", mode="scratch", epochs=1, device="cpu").fit(digits)
    >>> model.classes_[:3].tolist(), model.predict(digits.images).shape
    (['0', '1', '2'], (60,))
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        *,
        mode: Mode = TrainConfig.mode,
        unfreeze_from: str | None = TrainConfig.unfreeze_from,
        head: str = TrainConfig.head,
        init_head: str | None = TrainConfig.init_head,
        epochs: int = TrainConfig.epochs,
        batch_size: int = TrainConfig.batch_size,
        accumulate: int = TrainConfig.accumulate,
        optimizer: OptimizerName = TrainConfig.optimizer,
        lr: float | None = TrainConfig.lr,
        head_lr_factor: float = TrainConfig.head_lr_factor,
        momentum: float = TrainConfig.momentum,
        weight_decay: float | None = TrainConfig.weight_decay,
        schedule: ScheduleName = TrainConfig.schedule,
        warmup_epochs: int = TrainConfig.warmup_epochs,
        clip: float | None = TrainConfig.clip,
        label_smoothing: float = TrainConfig.label_smoothing,
        class_weight: ClassWeight | None = TrainConfig.class_weight,
        augment: AugmentName | None = TrainConfig.augment,
        mixup: float = TrainConfig.mixup,
        cutmix: float = TrainConfig.cutmix,
        patience: int | None = TrainConfig.patience,
        weights: str = ExtractConfig.weights,
        stem: Stem | None = ExtractConfig.stem,
        size: int | None = ExtractConfig.size,
        mean: Sequence[float] | None = ExtractConfig.mean,
        std: Sequence[float] | None = ExtractConfig.std,
        resize: Resize | None = ExtractConfig.resize,
        interpolation: Interpolation | None = ExtractConfig.interpolation,
        bits: int | None = ExtractConfig.bits,
        precision: Precision = TrainConfig.precision,
        device: str = TrainConfig.device,
        seed: int = TrainConfig.seed,
        on_error: OnError = TrainConfig.on_error,
        store: FeatureStore | str | os.PathLike[str] | None = None,
    ) -> None:
        self.backbone = backbone
        self.mode = mode
        self.unfreeze_from = unfreeze_from
        self.head = head
        self.init_head = init_head
        self.epochs = epochs
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.optimizer = optimizer
        self.lr = lr
        self.head_lr_factor = head_lr_factor
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.warmup_epochs = warmup_epochs
        self.clip = clip
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.augment = augment
        self.mixup = mixup
        self.cutmix = cutmix
        self.patience = patience
        self.weights = weights
        self.stem = stem
        self.size = size
        self.mean = mean
        self.std = std
        self.resize = resize
        self.interpolation = interpolation
        self.bits = bits
        self.precision = precision
        self.device = device
        self.seed = seed
        self.on_error = on_error
        self.store = store

    def fit(self, X: Images, y: Any = None) -> Self:
        """Train on images and labels.

        Parameters
        ----------
        X : array, tensor, list of images or of paths, or Source
            As `FeatureExtractor.transform`.
        y : array-like of shape (n,), optional
            Labels; None takes the source's own.

        Raises
        ------
        OptionError, SourceError, ImageError, FeatureError
            For parameters, labels, images or losses that cannot be worked with.
        ValueError
            Labels that are no classes: continuous numbers, NaN.

        Warns
        -----
        FeatxWarning
            Images have no label, and are left out, or several; the augmentation that was asked for mirrors what has a
            direction; a loss is above that of guessing.
        """
        if y is not None:
            check_classification_targets(y)
        config = self._config()
        store = as_store(self.store)
        source, found = opened(X, self.backbone, lambda channels: self._look_up(channels, store), self.bits)
        warn_of(found)
        source, classes = relabelled(source, y)
        rows = np.flatnonzero(source.labels >= 0).astype(np.int64)
        held = hold_out(source.row_hashes()[rows], source.labels[rows], VAL_FRACTION, self.seed)
        none = np.empty(0, np.int64)
        unlabelled = {source.split: len(source) - len(rows)} if len(rows) < len(source) else {}
        taught, val, test = (Part(source, some) for some in (rows[~held], rows[held], none))
        parts = Partition(taught, val, test, self.seed, unlabelled=unlabelled)
        for line in label_notes(parts, {source.split: source}):
            warnings.warn(line, FeatxWarning, stacklevel=2)
        result = train(parts, found, config, store=store)
        for said in result.warnings:
            warnings.warn(said, FeatxWarning, stacklevel=2)
        self.classes_ = classes
        self.module_, self.history_, self.best_epoch_ = result.module, result.history, result.best_epoch
        self.parameters_ = result.parameters
        self._backbone = found
        return self

    def _look_up(self, channels: int | None, store: FeatureStore | None) -> Backbone:
        return resolve(
            self.backbone,
            weights=scratch_weights(self.weights, self.seed) if self.mode == "scratch" else self.weights,
            stem=self.stem,
            size=self.size,
            mean=self.mean,
            std=self.std,
            resize=self.resize,
            interpolation=self.interpolation,
            bits=self.bits,
            channels=channels,
            memo=None if store is None else Memo(store.home),
        )

    def decision_function(self, X: Images) -> npt.NDArray[np.float32]:
        """Return logits, shape (n, n_classes); for two classes (n,), the second's less the first's."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def _logits(self, X: Images) -> npt.NDArray[np.float32]:
        check_is_fitted(self)
        seen, device = self._backbone.preprocess, pick_device(self.device)
        source = as_source(X, seen.channels, seen.bits)
        part = Part(source, np.arange(len(source)))
        loader = ImageLoader(part, self._backbone, self.batch_size, device)
        module = placed(self.module_, device).eval()
        logits = []
        with torch.inference_mode(), arithmetic(device, self.precision):
            for _, x in loader.batches(chunks(part.rows, self.batch_size), None):
                logits.append(logits_of(module(x), len(self.classes_))[0].float().cpu().numpy())
        return np.concatenate(logits)

    def predict_proba(self, X: Images) -> npt.NDArray[np.float32]:
        """Return probabilities, shape (n, n_classes), columns as `classes_`."""
        proba: npt.NDArray[np.float32] = torch.softmax(torch.from_numpy(self._logits(X)), 1).numpy()
        return proba

    def predict(self, X: Images) -> npt.NDArray[Any]:
        """Return the most probable label of each image."""
        best = self._logits(X).argmax(axis=1)
        labels: npt.NDArray[Any] = self.classes_[best]
        return labels

    def _config(self) -> TrainConfig:
        given = self.get_params(deep=False)
        return TrainConfig(**{field.name: given[field.name] for field in fields(TrainConfig) if field.name in given})
