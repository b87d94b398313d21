"""FeatureExtractor: a backbone's layers as a scikit-learn transformer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin

from featx.activations import compute, parse_layers
from featx.backbones import Backbone, resolve
from featx.cache.memo import Memo
from featx.cache.store import FeatureStore
from featx.errors import OptionError
from featx.extract import extract
from featx.inputs import Images, as_source, as_store
from featx.sources import Source
from featx.specs import ExtractConfig, LayerSpec, Views


class FeatureExtractor(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn images into a pretrained network's activations.

    Stateless: `fit` only checks the parameters.

    Parameters
    ----------
    backbone : str
        Any torchvision classifier, ``timm:NAME``, ``lenet5``, ``pixels``, ``file.py:factory`` or
        ``package.module:factory``; or ``run:ID``, the network of a training run in `store`'s home, else in featx's.
    layers : str, LayerSpec, or sequence of them
        ``NODE`` or ``NODE:POOLING``, patterns (``layer*:avg``) or ``all``; several are columns side by side, in the
        order given.
    weights : str
        ``DEFAULT``, one of torchvision's names, ``random:SEED``, a ``.pth`` or ``.safetensors`` file, or ``run:ID``.
    stem : str, optional
        ``cifar``: a torchvision ResNet gets a 3 x 3 convolution with stride 1 first, and no max pooling.
    size : int, optional
        Resize the shorter side to it and cut the centre out, in px.
    mean, std : sequence of float, optional
        Instead of those that belong to the weights.
    resize, interpolation : str, optional
        ``crop``, ``squash``, ``pad`` or ``none``, and ``bilinear`` or ``bicubic``; None as the weights were trained.
    bits : int, optional
        How many bits of 16-bit images count, such as 12; None as the files say, else all.
    crops : int
        1 (the centre), 5 (and the corners) or 10 (and their mirror images); more than one view is averaged.
    flip : bool
        Average with mirror images.
    scales : sequence of float
        Average over sizes relative to the input size.
    precision : str
        ``fp32``, ``bf16`` or ``fp16``.
    dtype : str
        ``float32`` or ``float16``.
    batch_size : int
        Images in one forward pass.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    store : FeatureStore or path, optional
        Where features are kept and found again; without one they are computed at each call.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from featx import FeatureExtractor, SoftmaxRegression
    >>> model = make_pipeline(FeatureExtractor("resnet18", "layer3:avg"), SoftmaxRegression())
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        layers: str | LayerSpec | Sequence[str | LayerSpec] = "avgpool",
        *,
        weights: str = ExtractConfig.weights,
        stem: str | None = ExtractConfig.stem,
        size: int | None = ExtractConfig.size,
        mean: Sequence[float] | None = ExtractConfig.mean,
        std: Sequence[float] | None = ExtractConfig.std,
        resize: str | None = ExtractConfig.resize,
        interpolation: str | None = ExtractConfig.interpolation,
        bits: int | None = ExtractConfig.bits,
        crops: int = Views.crops,
        flip: bool = Views.flip,
        scales: Sequence[float] = Views.scales,
        precision: str = ExtractConfig.precision,
        dtype: str = ExtractConfig.dtype,
        batch_size: int = ExtractConfig.batch_size,
        device: str = ExtractConfig.device,
        store: FeatureStore | str | os.PathLike[str] | None = None,
    ) -> None:
        self.backbone = backbone
        self.layers = layers
        self.weights = weights
        self.stem = stem
        self.size = size
        self.mean = mean
        self.std = std
        self.resize = resize
        self.interpolation = interpolation
        self.bits = bits
        self.crops = crops
        self.flip = flip
        self.scales = scales
        self.precision = precision
        self.dtype = dtype
        self.batch_size = batch_size
        self.device = device
        self.store = store

    def fit(self, X: Images, y: Any = None) -> Self:
        """Check the parameters; nothing is learnt from X.

        Raises
        ------
        OptionError
            For a parameter that cannot be worked with.
        """
        self._specs()
        self._config()
        return self

    def transform(self, X: Images) -> npt.NDArray[Any]:
        """Return the activations.

        Parameters
        ----------
        X : ndarray of uint8, paths, or Source
            (n, H, W) or (n, H, W, C) with C of 1 or 3; or n paths of images; or a Source.

        Returns
        -------
        ndarray, shape (n, columns)

        Raises
        ------
        ImageError
            Naming an image that cannot be decoded.
        OptionError
            For a parameter that cannot be worked with.
        """
        source, specs, config = as_source(X), self._specs(), self._config()
        store = as_store(self.store)
        backbone = self._backbone(source, store, config.views)
        if store is None:
            blocks = list(compute(source, backbone, specs, config).values())
        else:
            tables = extract({source.split: source}, backbone, specs, store, config).tables
            blocks = [np.asarray(table.X) for table in tables.values()]
        return blocks[0] if len(blocks) == 1 else np.hstack(blocks)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def _specs(self) -> list[LayerSpec]:
        several = isinstance(self.layers, Iterable) and not isinstance(self.layers, str)
        layers: list[Any] = list(self.layers) if several else [self.layers]  # type: ignore[arg-type]
        if not all(isinstance(layer, (str, LayerSpec)) for layer in layers):
            raise OptionError(f"layers is {str(self.layers)[:80]}, expected one or several of NODE or NODE:POOLING")
        return parse_layers(layers)

    def _config(self) -> ExtractConfig:
        return ExtractConfig(
            views=Views(self.crops, self.flip, tuple(self.scales)),
            precision=self.precision,
            dtype=self.dtype,
            batch_size=self.batch_size,
            device=self.device,
        )

    def _backbone(self, source: Source, store: FeatureStore | None, views: Views) -> Backbone:
        return resolve(
            self.backbone,
            weights=self.weights,
            stem=self.stem,
            size=self.size,
            mean=self.mean,
            std=self.std,
            resize=self.resize,
            interpolation=self.interpolation,
            bits=self.bits,
            views=views,
            channels=source.channels,
            memo=None if store is None else Memo(store.home),
        )
