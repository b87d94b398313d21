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
from featx.core.specs import BackboneConfig, Interpolation, OnError, Precision, Resize, Stem
from featx.data.coverage import label_notes
from featx.data.source import Source
from featx.data.split_options import SplitOptions
from featx.data.splits import Part, Partition, hold_out
from featx.errors import FeatxWarning
from featx.extraction.inputs import Images, as_source, as_store, opened, relabelled, warn_of
from featx.graph.outputs import logits_of
from featx.graph.placing import placed
from featx.models.backbones import Backbone, look_up
from featx.probes.config import Calibrate
from featx.training.batches import ImageLoader, chunks
from featx.training.config import AugmentName, ClassWeight, Mode, OptimizerName, ScheduleName, TrainConfig
from featx.training.train import train


class EndToEndClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network trained from scratch, with a frozen base, or fine-tuned.

    A held-out, stratified tenth of the training images, chosen by `seed` and content, selects the best epoch.

    Parameters
    ----------
    backbone : str
        Any torchvision classifier, ``timm:NAME``, ``lenet5``, or a factory as for `FeatureExtractor`.
    mode : str
        ``scratch`` (random weights), ``frozen`` (only the head trains) or ``finetune``.
    unfreeze_from : str, optional
        With ``finetune``: the first block that trains; those before it are frozen. None trains all.
    head : str
        The new classifier: ``linear``, ``mlp:256`` and others, see `HeadSpec`.
    init_head : str, optional
        Id or folder of the run whose softmax regression or trained head initialises the head; it is looked up in
        `store`'s home, else in featx's. None draws the head at random.
    epochs : int
        Passes over the training images.
    batch_size : int
        Images per batch, in training and in prediction.
    accumulate : int
        Batches whose gradients are accumulated per step.
    optimizer : str
        ``sgd`` (with Nesterov momentum), ``adam`` or ``adamw``.
    lr : float, optional
        Peak learning rate, per step; None takes the default of the optimizer and mode, `TrainConfig.LR`.
    head_lr_factor : float
        The head's learning rate as a multiple of `lr`.
    momentum : float
        Momentum of SGD; beta 1 of Adam and AdamW. Below 1.
    weight_decay : float, optional
        Weight decay, except for biases and norms; None takes the optimizer's default, `TrainConfig.WEIGHT_DECAY`.
    schedule : str
        Learning rate schedule: ``constant``, ``step``, ``cosine``, ``onecycle`` or ``plateau``, see
        `featx.training.optim.Schedule`.
    warmup_epochs : int
        Epochs over which the learning rate rises linearly; fewer than `epochs`.
    clip : float, optional
        Maximum norm of a step's gradient; None does not clip.
    label_smoothing : float
        Share of the target spread over all classes, from 0 to below 1.
    class_weight : str, optional
        ``balanced``: n / (k * count), as scikit-learn's; None weighs every row alike.
    augment : str, optional
        ``none``, ``flip``, ``crop``, ``crop-flip``, ``trivial`` or ``randaugment``; None takes the mode's default,
        `TrainConfig.AUGMENT`, without the flip for images that have a direction.
    mixup : float
        Parameter of the Beta distribution for blending images; 0 disables it.
    cutmix : float
        The same for pasting parts of images into others; with both, each batch has one of the two.
    patience : int, optional
        Stop after this many epochs without improvement; None never stops early.
    sync_batch_norm : bool
        Of several processes, whether batch norm sees the whole batch, as in one process, or each its own slice.
    calibrate : str, optional
        ``temperature`` or ``vector``: calibrates the logits on the tenth of the images that is held out.
    weights : str
        As in `FeatureExtractor`; ``scratch`` draws from `seed`, unless ``random:SEED`` is given.
    stem : str, optional
        ``cifar``: a torchvision ResNet gets a 3 x 3 convolution with stride 1 first, and no max pooling.
    size : int, optional
        Image size in px; None as the weights were trained.
    mean : sequence of float, optional
        One value per channel, in units of 0..1; None as the weights were trained.
    std : sequence of float, optional
        Divisors after `mean` is subtracted, in the same units; None as the weights were trained.
    resize : str, optional
        ``crop``, ``squash``, ``pad`` or ``none``; None as the weights were trained.
    interpolation : str, optional
        ``bilinear`` or ``bicubic``; None as the weights were trained.
    bits : int, optional
        Significant bits of 16-bit images, such as 12; None as the files say, else all.
    precision : str
        Precision of the arithmetic: ``fp32``, ``bf16`` or ``fp16``.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    seed : int
        Seed of every random choice, at least 0.
    on_error : str
        ``raise``, or ``skip`` to leave out images that cannot be decoded.
    store : FeatureStore or path, optional
        Keeps the features of a frozen base; without it they are computed in memory.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    history_ : list of dict
        One entry per epoch.
    best_epoch_ : int
        The epoch whose weights were kept, from 1.
    module_ : nn.Module
        The trained network, in eval mode; its logits are not calibrated.
    calibration_ : Calibration or None
        What is done to them, and what that changed.

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
        sync_batch_norm: bool = TrainConfig.sync_batch_norm,
        calibrate: Calibrate | None = TrainConfig.calibrate,
        weights: str = BackboneConfig.weights,
        stem: Stem | None = BackboneConfig.stem,
        size: int | None = BackboneConfig.size,
        mean: Sequence[float] | None = BackboneConfig.mean,
        std: Sequence[float] | None = BackboneConfig.std,
        resize: Resize | None = BackboneConfig.resize,
        interpolation: Interpolation | None = BackboneConfig.interpolation,
        bits: int | None = BackboneConfig.bits,
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
        self.sync_batch_norm = sync_batch_norm
        self.calibrate = calibrate
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
            n images, of the shapes that `FeatureExtractor.transform` takes.
        y : array-like of shape (n,), optional
            Labels; None takes the source's own.

        Returns
        -------
        EndToEndClassifier
            Itself.

        Raises
        ------
        OptionError, SourceError, ImageError, FeatureError
            For invalid parameters, labels, images or losses.
        ValueError
            For labels that are not classes: continuous numbers, NaN.

        Warns
        -----
        FeatxWarning
            Images have no label, and are left out, or several labels; the requested augmentation mirrors images that
            have a direction; a loss is worse than guessing.
        """
        if y is not None:
            check_classification_targets(y)
        config, store = self._config(), as_store(self.store)
        source, found = opened(X, self.backbone, lambda channels: self._look_up(channels, store), self.bits)
        warn_of(found)
        source, classes = relabelled(source, y)
        partition = _hold_tenth_out(source, self.seed)
        _warn(label_notes(partition, {source.split: source}))
        result = train(partition, found, config, store=store)
        _warn(result.warnings)
        self.classes_ = classes
        self.module_, self.history_, self.best_epoch_ = result.module, result.history, result.best_epoch
        self.parameters_, self.calibration_ = result.parameters, result.calibration
        self._backbone = found
        return self

    def _look_up(self, channels: int | None, store: FeatureStore | None) -> Backbone:
        how = BackboneConfig(
            weights=scratch_weights(self.weights, self.seed) if self.mode == "scratch" else self.weights,
            stem=self.stem,
            size=self.size,
            mean=self.mean,
            std=self.std,
            resize=self.resize,
            interpolation=self.interpolation,
            bits=self.bits,
        )
        return look_up(self.backbone, how, channels, None if store is None else Memo(store.home))

    def decision_function(self, X: Images) -> npt.NDArray[np.float32]:
        """Return the logits.

        Parameters
        ----------
        X : array, tensor, list of images or of paths, or Source
            n images, of the shapes that `FeatureExtractor.transform` takes.

        Returns
        -------
        ndarray of float32 of shape (n, n_classes), or (n,) for two classes
            Columns in the order of `classes_`; for two classes, the second's minus the first's.

        Raises
        ------
        SourceError
            An image cannot be decoded (`ImageError`), or there are none.
        sklearn.exceptions.NotFittedError
            Nothing was fitted yet.
        """
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
        found = np.concatenate(logits)
        return found if self.calibration_ is None else self.calibration_.scaling(found).astype(np.float32)

    def predict_proba(self, X: Images) -> npt.NDArray[np.float32]:
        """Return the classes' probabilities.

        Parameters
        ----------
        X : array, tensor, list of images or of paths, or Source
            n images, of the shapes that `FeatureExtractor.transform` takes.

        Returns
        -------
        ndarray of float32 of shape (n, n_classes)
            Columns in the order of `classes_`.

        Raises
        ------
        SourceError
            An image cannot be decoded (`ImageError`), or there are none.
        sklearn.exceptions.NotFittedError
            Nothing was fitted yet.
        """
        proba: npt.NDArray[np.float32] = torch.softmax(torch.from_numpy(self._logits(X)), 1).numpy()
        return proba

    def predict(self, X: Images) -> npt.NDArray[Any]:
        """Return the most probable label of each image.

        Parameters
        ----------
        X : array, tensor, list of images or of paths, or Source
            n images, of the shapes that `FeatureExtractor.transform` takes.

        Returns
        -------
        ndarray of shape (n,)
            Some of `classes_`.

        Raises
        ------
        SourceError
            An image cannot be decoded (`ImageError`), or there are none.
        sklearn.exceptions.NotFittedError
            Nothing was fitted yet.
        """
        best = self._logits(X).argmax(axis=1)
        labels: npt.NDArray[Any] = self.classes_[best]
        return labels

    def _config(self) -> TrainConfig:
        given = self.get_params(deep=False)
        return TrainConfig(**{field.name: given[field.name] for field in fields(TrainConfig) if field.name in given})


def _hold_tenth_out(source: Source, seed: int) -> Partition:
    """Return all labelled images, a stratified tenth of them for validation, none for test."""
    rows = np.flatnonzero(source.labels >= 0).astype(np.int64)
    held = hold_out(source.row_hashes()[rows], source.labels[rows], SplitOptions.val_size, seed)
    none = np.empty(0, np.int64)
    train, val, test = (Part(source, some) for some in (rows[~held], rows[held], none))
    unlabelled = {source.split: len(source) - len(rows)} if len(rows) < len(source) else {}
    return Partition(train, val, test, seed, unlabelled=unlabelled)


def _warn(lines: Sequence[str]) -> None:
    for line in lines:
        warnings.warn(line, FeatxWarning, stacklevel=3)
