"""EndToEndClassifier: training a whole network as a scikit-learn classifier."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from featx.backbones import resolve
from featx.cache.memo import Memo
from featx.cache.store import FeatureStore
from featx.feeds import ImageFeed, chunks
from featx.forward import arithmetic, pick_device
from featx.inputs import Images, as_source, as_store, relabelled
from featx.specs import ExtractConfig, TrainConfig
from featx.splits import VAL_FRACTION, Part, Partition, hold_out
from featx.training import train


class EndToEndClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network trained from scratch, with a frozen base, or fine-tuned.

    A stratified tenth of the training images, chosen by `seed` and content, picks the best epoch.

    Parameters
    ----------
    backbone : str
        Any torchvision classifier, ``timm:NAME``, ``lenet5``, or a factory as for `FeatureExtractor`.
    mode : str
        ``scratch`` (random weights), ``frozen`` (only the head trains) or ``finetune`` (everything does).
    head : str
        ``linear``.
    epochs, batch_size : int
        How long, and images a step.
    lr : float, optional
        Peak learning rate of the cosine schedule; None takes the mode's own.
    momentum, weight_decay : float
        Of SGD.
    augment : str, optional
        ``none``, ``flip`` or ``crop-flip``; None takes the mode's own.
    weights : str
        As `FeatureExtractor`; ignored by ``scratch``.
    stem : str, optional
        As `FeatureExtractor`.
    size : int, optional
        Image size in px.
    mean, std : sequence of float, optional
        Instead of those that belong to the weights.
    resize, interpolation : str, optional
        ``crop``, ``squash``, ``pad`` or ``none``, and ``bilinear`` or ``bicubic``; None as the weights were trained.
    precision, device : str
        As `FeatureExtractor`.
    seed : int
        Of the new weights, the held-out rows, the order of the images and their augmentation.
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
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        *,
        mode: str = TrainConfig.mode,
        head: str = TrainConfig.head,
        epochs: int = TrainConfig.epochs,
        batch_size: int = TrainConfig.batch_size,
        lr: float | None = TrainConfig.lr,
        momentum: float = TrainConfig.momentum,
        weight_decay: float = TrainConfig.weight_decay,
        augment: str | None = TrainConfig.augment,
        weights: str = ExtractConfig.weights,
        stem: str | None = ExtractConfig.stem,
        size: int | None = ExtractConfig.size,
        mean: Sequence[float] | None = ExtractConfig.mean,
        std: Sequence[float] | None = ExtractConfig.std,
        resize: str | None = ExtractConfig.resize,
        interpolation: str | None = ExtractConfig.interpolation,
        precision: str = TrainConfig.precision,
        device: str = TrainConfig.device,
        seed: int = TrainConfig.seed,
        store: FeatureStore | str | os.PathLike[str] | None = None,
    ) -> None:
        self.backbone = backbone
        self.mode = mode
        self.head = head
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.augment = augment
        self.weights = weights
        self.stem = stem
        self.size = size
        self.mean = mean
        self.std = std
        self.resize = resize
        self.interpolation = interpolation
        self.precision = precision
        self.device = device
        self.seed = seed
        self.store = store

    def fit(self, X: Images, y: Any = None) -> Self:
        """Train on images and labels.

        Parameters
        ----------
        X : ndarray of uint8, paths, or Source
            As `FeatureExtractor.transform`.
        y : array-like of shape (n,), optional
            Labels; None takes the source's own.

        Raises
        ------
        OptionError, SourceError, ImageError, FeatureError
            For parameters, labels, images or losses that cannot be worked with.
        ValueError
            Labels that are no classes: continuous numbers, NaN.
        """
        if y is not None:
            check_classification_targets(y)
        source, classes = relabelled(as_source(X), y)
        config = self._config()
        store = as_store(self.store)
        found = resolve(
            self.backbone,
            weights=f"random:{self.seed}" if self.mode == "scratch" else self.weights,
            stem=self.stem,
            size=self.size,
            mean=self.mean,
            std=self.std,
            resize=self.resize,
            interpolation=self.interpolation,
            channels=source.channels,
            memo=None if store is None else Memo(store.home),
        )
        rows = np.flatnonzero(source.labels >= 0).astype(np.int64)
        held = hold_out(source.row_hashes()[rows], source.labels[rows], VAL_FRACTION, self.seed)
        none = np.empty(0, np.int64)
        parts = Partition(Part(source, rows[~held]), Part(source, rows[held]), Part(source, none), self.seed)
        result = train(parts, found, config, store=store)
        self.classes_ = classes
        self.module_, self.history_, self.best_epoch_ = result.module, result.history, result.best_epoch
        self.parameters_ = result.parameters
        self._backbone = found
        return self

    def decision_function(self, X: Images) -> npt.NDArray[np.float32]:
        """Return logits, shape (n, n_classes); for two classes (n,), the second's less the first's."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def _logits(self, X: Images) -> npt.NDArray[np.float32]:
        check_is_fitted(self)
        source, device = as_source(X), pick_device(self.device)
        part = Part(source, np.arange(len(source)))
        feed = ImageFeed(part, self._backbone, self.batch_size, device)
        module = self.module_.to(device).eval()
        logits = []
        with torch.inference_mode(), arithmetic(device, self.precision):
            for _, x in feed.batches(chunks(part.rows, self.batch_size), None):
                logits.append(module(x).float().cpu().numpy())
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
        return TrainConfig(
            mode=self.mode,
            head=self.head,
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            augment=self.augment,
            precision=self.precision,
            device=self.device,
            seed=self.seed,
        )
