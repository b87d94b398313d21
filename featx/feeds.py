"""What the training loop eats: a part's images, or the cached features of a frozen base."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from featx.activations import compute
from featx.augment import Augment
from featx.backbones import Backbone
from featx.cache.store import FeatureStore
from featx.extract import extract
from featx.forward import Network, Normalize
from featx.loading import image_shape, load_batches
from featx.specs import ExtractConfig, Progress, TrainConfig
from featx.splits import Part, Partition

Rows = npt.NDArray[np.int64]

MEMORY_BYTES = 4 << 30
"""Decoded images of a part are held in memory up to this; beyond, they are decoded anew each epoch."""


def chunks(rows: Rows, size: int) -> list[Rows]:
    """Cut row numbers into batches; the last may be smaller."""
    return [rows[i : i + size] for i in range(0, len(rows), size)]


class FeatureFeed:
    """A part's cached features: the frozen base has run already."""

    def __init__(self, X: npt.NDArray[Any], device: torch.device) -> None:
        self.X = torch.from_numpy(np.ascontiguousarray(X, np.float32)).to(device)

    def batches(self, batches: list[Rows], augment: Augment | None) -> Iterator[tuple[Rows, torch.Tensor]]:
        """Give each batch's rows and features (m, d)."""
        for rows in batches:
            yield rows, self.X[torch.from_numpy(rows).to(self.X.device)]


class ImageFeed:
    """A part's images, decoded once where they fit into memory, normalised and augmented on the device."""

    def __init__(self, part: Part, backbone: Backbone, batch_size: int, device: torch.device) -> None:
        self.part, self.spec, self.device = part, backbone.preprocess, device
        self.shape = image_shape(part.source, self.spec)
        self._normalize = Normalize(self.spec).to(device)
        channels, height, width = self.shape
        self._pixels: npt.NDArray[np.uint8] | None = None
        if len(part) * height * width * channels <= MEMORY_BYTES:
            self._pixels = np.empty((len(part), height, width, channels), np.uint8)
            for rows, pixels in self._decoded(chunks(np.arange(len(part)), batch_size)):
                self._pixels[rows] = pixels

    def _decoded(self, batches: list[Rows]) -> Iterator[tuple[Rows, npt.NDArray[np.uint8]]]:
        wanted = (self.part.rows[rows] for rows in batches)
        loaded = load_batches(self.part.source, wanted, self.spec, self.shape)
        for rows, batch in zip(batches, loaded, strict=True):
            yield rows, batch.pixels

    def batches(self, batches: list[Rows], augment: Augment | None) -> Iterator[tuple[Rows, torch.Tensor]]:
        """Give each batch's rows and float32 images (m, C, H, W)."""
        held = self._pixels
        source = self._decoded(batches) if held is None else ((rows, held[rows]) for rows in batches)
        for rows, pixels in source:
            x = torch.from_numpy(pixels).to(self.device)
            yield rows, self._normalize(augment(x, rows) if augment else x)


Feeds = dict[str, ImageFeed] | dict[str, FeatureFeed]
"""By the name of the part."""


def image_feeds(partition: Partition, backbone: Backbone, config: TrainConfig, device: torch.device) -> Feeds:
    """Decode each part that has rows."""
    parts = partition.parts()
    return {n: ImageFeed(p, backbone, config.batch_size, device) for n, p in parts.items() if len(p)}


def feature_feeds(
    partition: Partition,
    backbone: Backbone,
    store: FeatureStore | None,
    config: TrainConfig,
    device: torch.device,
    progress: Progress,
) -> Feeds:
    """Run the frozen base once over every row, through the store where there is one."""
    traced = Network(backbone, image_shape(partition.train.source, backbone.preprocess)).traced
    layer = traced.before(backbone.head)
    how = ExtractConfig(precision=config.precision, device=config.device)
    sources = partition.sources()
    if store is None:
        found = {name: compute(s, backbone, [layer], how, progress)[layer] for name, s in sources.items()}
    else:
        tables = extract(sources, backbone, [layer], store, how, progress).tables
        found = {name: np.asarray(tables[name, layer].X) for name in sources}
    parts = partition.parts()
    return {n: FeatureFeed(found[p.source.split][p.rows], device) for n, p in parts.items() if len(p)}
