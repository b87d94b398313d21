"""FeatureExtractor: a backbone's layers as a scikit-learn transformer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin

from featx.cache.memo import Memo
from featx.cache.store import FeatureStore
from featx.core.concatenation import Concatenation
from featx.core.specs import (
    BackboneConfig,
    Crops,
    Dtype,
    ExtractConfig,
    Interpolation,
    LayerSpec,
    Precision,
    Resize,
    Stem,
    Views,
)
from featx.errors import OptionError
from featx.extraction.compute import compute, parse_layers
from featx.extraction.extract import extract
from featx.extraction.inputs import Images, as_store, opened, warn_of
from featx.models.backbones import Backbone, look_up


class FeatureExtractor(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Transform images into a pretrained network's activations.

    Stateless: `fit` only checks the parameters.

    Parameters
    ----------
    backbone : str
        Any torchvision classifier, ``timm:NAME``, ``lenet5``, ``pixels``, ``file.py:factory`` or
        ``package.module:factory``; or ``run:ID``, the network of a training run in `store`'s home, else in featx's.
    layers : str, LayerSpec, or sequence of them
        ``NODE`` or ``NODE:POOLING``, patterns (``layer*:avg``) or ``all``; several are concatenated in the given order.
    weights : str
        ``DEFAULT``, one of torchvision's names, ``random:SEED``, a ``.pth`` or ``.safetensors`` file, or ``run:ID``.
    stem : str, optional
        ``cifar``: a torchvision ResNet gets a 3 x 3 convolution with stride 1 first, and no max pooling.
    size : int, optional
        Input size in px: the shorter side is resized to it and the centre cropped.
    mean, std : sequence of float, optional
        One value per channel, in units of 0..1; None takes those of the weights.
    resize : str, optional
        ``crop``, ``squash``, ``pad`` or ``none``; None as the weights were trained.
    interpolation : str, optional
        ``bilinear`` or ``bicubic``; None as the weights were trained.
    bits : int, optional
        Significant bits of 16-bit images, such as 12; None as the files say, else all.
    crops : int
        1 (the centre), 5 (also the corners) or 10 (also their mirror images); several views are averaged.
    flip : bool
        Average with mirror images.
    scales : sequence of float
        Average over sizes relative to the input size.
    precision : str
        ``fp32``, ``bf16`` or ``fp16``.
    dtype : str
        ``float32`` or ``float16``.
    batch_size : int, optional
        Images per forward pass; it affects rounding, in fp32 by up to a few 1e-6 of the largest value.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; it affects rounding too.
    store : FeatureStore or path, optional
        Where features are kept and looked up, whatever their batch size and device; without one they are computed at
        each call.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from featx import FeatureExtractor, SoftmaxRegression, load_source
    >>> digits = load_source("digits", limit=100)
    >>> features = FeatureExtractor("lenet5", ["conv1:avg", "pool2"], weights="random:0", device="cpu")
    >>> features.transform(digits).shape
    (100, 406)
    >>> features.get_feature_names_out()[[0, 5, 6]].tolist()
    ['conv1:avg_0', 'conv1:avg_5', 'pool2_0']
    >>> model = make_pipeline(features, SoftmaxRegression()).fit(digits, digits.labels)
    >>> model.predict(digits.images[:5]).shape
    (5,)
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        layers: str | LayerSpec | Sequence[str | LayerSpec] = "avgpool",
        *,
        weights: str = BackboneConfig.weights,
        stem: Stem | None = BackboneConfig.stem,
        size: int | None = BackboneConfig.size,
        mean: Sequence[float] | None = BackboneConfig.mean,
        std: Sequence[float] | None = BackboneConfig.std,
        resize: Resize | None = BackboneConfig.resize,
        interpolation: Interpolation | None = BackboneConfig.interpolation,
        bits: int | None = BackboneConfig.bits,
        crops: Crops = Views.crops,
        flip: bool = Views.flip,
        scales: Sequence[float] = Views.scales,
        precision: Precision = ExtractConfig.precision,
        dtype: Dtype = ExtractConfig.dtype,
        batch_size: int | None = ExtractConfig.batch_size,
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
        """Check the parameters; nothing is learned from X.

        Parameters
        ----------
        X : array, tensor, list of images or of paths, or Source, of any shape
            Has no effect.
        y : object
            Has no effect.

        Returns
        -------
        FeatureExtractor
            Itself.

        Raises
        ------
        OptionError
            For a parameter that cannot be worked with.
        """
        self._specs()
        self._how()
        self._config()
        return self

    def transform(self, X: Images) -> npt.NDArray[Any]:
        """Return the activations.

        Parameters
        ----------
        X : array, tensor, list of images or of paths, or Source
            See `featx.extraction.inputs.as_source`: uint8 of shape (n, H, W), (n, H, W, C) or (n, C, H, W); a torch
            tensor of them, or of floats from 0 to 1; a list of arrays, tensors or PIL images; n paths of images; or a
            Source.

        Returns
        -------
        ndarray of shape (n, columns)
            After ``set_output(transform="pandas")`` a data frame, its columns named by `get_feature_names_out`.

        Raises
        ------
        ImageError
            For an image that cannot be decoded; it is named.
        OptionError
            For a parameter that cannot be worked with.
        """
        specs, config, store = self._specs(), self._config(), as_store(self.store)
        source, backbone = opened(X, self.backbone, lambda channels: self._backbone(channels, store), self.bits)
        if store is None:
            found = compute(source, backbone, specs, config)
        else:
            tables = extract({source.split: source}, backbone, specs, store, config).tables
            found = {layer: np.asarray(table.X) for (_, layer), table in tables.items()}
        self._named = self._identity(), _names({layer: rows.shape[1] for layer, rows in found.items()})
        blocks = list(found.values())
        return blocks[0] if len(blocks) == 1 else np.hstack(blocks)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[Any]:
        """Return the columns' names: layer, pooling and number, such as ``layer3:avg_0``.

        Parameters
        ----------
        input_features : object
            Has no effect: images have no feature names.

        Returns
        -------
        ndarray of object of shape (columns,)
            The names, in the order of the columns.

        Raises
        ------
        OptionError
            Nothing was transformed yet, and the number of columns depends on the image size.
        """
        identity, names = getattr(self, "_named", (None, None))
        return self._counted_names() if identity != self._identity() or names is None else names.copy()

    def _identity(self) -> str:
        """Return what the columns depend on, the images' size apart."""
        passing = ("batch_size", "device", "store", "precision", "dtype", "mean", "std")
        return repr({name: value for name, value in self.get_params(deep=False).items() if name not in passing})

    def _counted_names(self) -> npt.NDArray[Any]:
        """Return the names without images, from the shapes that the network gives at its size."""
        from featx.extraction.compute import layers_of
        from featx.extraction.forward import Network

        backbone = self._backbone(None, as_store(self.store))
        px = backbone.preprocess.crop
        if px is None:
            raise OptionError(
                f"the number of columns of {self.backbone} depends on the image size",
                "transform images first, or give --size",
            )
        network = Network(backbone, (backbone.preprocess.channels, px, px))
        return _names({str(spec): network.columns(spec) for spec in layers_of(self._specs(), network)})

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def _specs(self) -> list[LayerSpec]:
        several = isinstance(self.layers, Iterable) and not isinstance(self.layers, str)
        layers: list[Any] = list(self.layers) if several else [self.layers]  # type: ignore[arg-type]
        if not all(isinstance(layer, (str, LayerSpec, Concatenation)) for layer in layers):
            raise OptionError(f"layers is {str(self.layers)[:80]}, expected one or more of NODE or NODE:POOLING")
        return parse_layers(layers)

    def _config(self) -> ExtractConfig:
        return ExtractConfig(
            precision=self.precision,
            dtype=self.dtype,
            batch_size=self.batch_size,
            device=self.device,
        )

    def _how(self) -> BackboneConfig:
        scales: Any = self.scales  # any sequence: `Views` makes it a tuple
        return BackboneConfig(
            weights=self.weights,
            stem=self.stem,
            size=self.size,
            mean=self.mean,
            std=self.std,
            resize=self.resize,
            interpolation=self.interpolation,
            bits=self.bits,
            views=Views(self.crops, self.flip, scales),
        )

    def _backbone(self, channels: int | None, store: FeatureStore | None) -> Backbone:
        found = look_up(self.backbone, self._how(), channels, None if store is None else Memo(store.home))
        warn_of(found)
        return found


def _names(widths: Mapping[str, int]) -> npt.NDArray[Any]:
    return np.array([f"{layer}_{i}" for layer, width in widths.items() for i in range(width)], object)
