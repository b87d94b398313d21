"""Models that give logits of images, batch by batch: a head on features, or a whole network."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from featx.core.backbone_names import PIXELS
from featx.core.concatenation import Feature, parts_of
from featx.core.specs import ExtractConfig, LayerSpec, PreprocessSpec, Views
from featx.core.types import RowNumbers
from featx.data.batch_loader import Batch, image_shape, load_batches
from featx.data.sources import Source
from featx.extraction.compute import activations, batch_size_of, check_and_cast
from featx.models.backbones import Backbone
from featx.portable import LinearModel, Scaling

if TYPE_CHECKING:
    from torch import nn

Logits = npt.NDArray[np.float64]


class Predictor(ABC):
    """A run's model; see `featx.runs.predict.open_predictor`.

    Parameters
    ----------
    classes : tuple of str
        Class names, in the order of the logits.
    backbone : Backbone
        The network, and what an image goes through before it.

    Attributes
    ----------
    is_probabilistic : bool
        Whether the softmax of the logits are probabilities; other linear heads give scores that only rank.
    uses_device : bool
        Whether there is a network that runs on a device; numpy does for pixels.
    scaling : Scaling or None
        The calibration of the logits.
    """

    is_probabilistic = True
    uses_device = True
    scaling: Scaling | None = None

    def __init__(self, classes: tuple[str, ...], backbone: Backbone) -> None:
        self.classes = classes
        self.backbone, self.preprocess = backbone, backbone.preprocess

    def logits(self, source: Source, config: ExtractConfig) -> Iterator[tuple[Batch, Logits]]:
        """Give each batch of a source and its logits of shape (m, n_classes); skipped images have rows without sense.

        Parameters
        ----------
        source : Source
            Of the images.
        config : ExtractConfig
            Batch size, device, workers, and what a broken image does; the rest is the run's own.
        """
        rows = np.arange(len(source), dtype=np.int64)
        size = batch_size_of(config, image_shape(source, self.preprocess))
        batches = np.split(rows, range(size, len(rows), size))
        for batch, found in self._logits(source, batches, config):
            yield batch, found if self.scaling is None else self.scaling(found)

    def _loaded(self, source: Source, batches: Sequence[RowNumbers], config: ExtractConfig) -> Iterator[Batch]:
        shape = image_shape(source, self.preprocess)
        return load_batches(source, batches, self.preprocess, shape, workers=config.workers, on_error=config.on_error)

    @abstractmethod
    def in_full_precision(self) -> Predictor:
        """Return the same model, computing in fp32 on features that are kept as float32."""

    @abstractmethod
    def _logits(
        self, source: Source, batches: Sequence[RowNumbers], config: ExtractConfig
    ) -> Iterator[tuple[Batch, Logits]]: ...


class LinearPredictor(Predictor):
    """The head of `featx fit`, on the features that it was fitted on."""

    def __init__(
        self, classes: tuple[str, ...], backbone: Backbone, layer: Feature, model: LinearModel, fitted: ExtractConfig
    ) -> None:
        super().__init__(classes, backbone)
        self.layer, self.model, self.fitted = layer, model, fitted
        self.uses_device = not (layer == LayerSpec(PIXELS) and backbone.preprocess.views == Views())

    def in_full_precision(self) -> LinearPredictor:
        """See `Predictor`."""
        found = copy.copy(self)
        found.fitted = ExtractConfig()
        return found

    def _logits(
        self, source: Source, batches: Sequence[RowNumbers], config: ExtractConfig
    ) -> Iterator[tuple[Batch, Logits]]:
        config = replace(config, precision=self.fitted.precision, dtype=self.fitted.dtype)
        for batch, X in self._features(source, batches, config):
            kept = check_and_cast(X, batch, source, self.layer, config)
            full = np.full((len(kept), len(self.classes)), -np.inf)
            full[:, self.model.classes] = self.model.logits(kept)
            yield batch, full

    def _features(
        self, source: Source, batches: Sequence[RowNumbers], config: ExtractConfig
    ) -> Iterator[tuple[Batch, npt.NDArray[np.float32]]]:
        if not self.uses_device:
            for batch in self._loaded(source, batches, config):
                yield batch, _pixels(batch, self.preprocess)
            return
        from featx.extraction.forward import Network  # torch

        network = Network(self.backbone, image_shape(source, self.preprocess))
        for batch, features, _ in activations(source, network, parts_of(self.layer), (), batches, config):
            yield batch, features[0] if len(features) == 1 else np.concatenate(features, axis=1)


class NetworkPredictor(Predictor):
    """The network of `featx train`."""

    def __init__(self, classes: tuple[str, ...], backbone: Backbone, whole: nn.Module, precision: str) -> None:
        super().__init__(classes, backbone)
        self.whole, self.precision = whole, precision

    def in_full_precision(self) -> NetworkPredictor:
        """See `Predictor`."""
        found = copy.copy(self)
        found.precision = ExtractConfig.precision
        return found

    def _logits(
        self, source: Source, batches: Sequence[RowNumbers], config: ExtractConfig
    ) -> Iterator[tuple[Batch, Logits]]:
        import torch

        from featx.core.device import arithmetic, memory_errors, pick_device
        from featx.extraction.forward import Normalize
        from featx.graph.outputs import logits_of
        from featx.graph.placing import placed
        from featx.models.parts import channels_last

        device = pick_device(config.device)
        network, normalize = channels_last(placed(self.whole, device)), Normalize(self.preprocess).to(device)
        for batch in self._loaded(source, batches, config):
            with torch.inference_mode(), memory_errors("prediction"), arithmetic(device, self.precision):
                x = normalize(torch.from_numpy(batch.pixels).to(device))
                logits = logits_of(network(x), len(self.classes))[0].double().cpu().numpy()
            yield batch, logits


def _pixels(batch: Batch, spec: PreprocessSpec) -> npt.NDArray[np.float32]:
    """Return what the backbone `pixels` gives, with its operations in their order, without torch."""
    x = batch.pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    mean, std = (np.array(values, np.float32).reshape(1, -1, 1, 1) for values in (spec.mean, spec.std))
    found: npt.NDArray[np.float32] = ((x - mean) / std).reshape(len(x), -1)
    return found
