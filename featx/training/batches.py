"""What the training loop eats: a part's images, or the cached features of a frozen base."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from featx.cache.store import FeatureStore
from featx.core.specs import ExtractConfig, Progress
from featx.core.types import RowNumbers
from featx.data.batch_loader import image_shape, load_batches, none_decoded
from featx.data.splits import Part, Partition
from featx.extraction.compute import compute
from featx.extraction.extract import extract
from featx.extraction.forward import Normalize
from featx.models.backbones import Backbone
from featx.training.augment import Augment
from featx.training.config import TrainConfig

MEMORY_BYTES = 4 << 30
"""Decoded images of a part are held in memory, the device's, up to this; beyond, they are decoded anew each epoch."""


def chunks(rows: RowNumbers, size: int) -> list[RowNumbers]:
    """Cut row numbers into batches; the last may be smaller."""
    return [rows[i : i + size] for i in range(0, len(rows), size)]


class FeatureLoader:
    """A part's cached features: the frozen base has run already.

    Parameters
    ----------
    part : Part
        Whose rows these are, without those that were skipped.
    X : ndarray, shape (n, d)
        Its features.
    """

    def __init__(self, part: Part, X: npt.NDArray[Any], device: torch.device) -> None:
        self.part = part
        self.X = torch.from_numpy(np.ascontiguousarray(X, np.float32)).to(device)

    def batches(self, batches: list[RowNumbers], augment: Augment | None) -> Iterator[tuple[RowNumbers, torch.Tensor]]:
        """Give each batch's rows and features (m, d)."""
        for rows in batches:
            yield rows, self.X[torch.from_numpy(rows).to(self.X.device)]


class ImageLoader:
    """A part's images, decoded once where they fit into memory, normalised and augmented on the device.

    Parameters
    ----------
    part : Part
        Which rows.
    on_error : str
        ``raise``, or ``skip`` to leave out images that cannot be decoded: `part` is then the others, and `skipped`
        says which and why.
    """

    def __init__(
        self,
        part: Part,
        backbone: Backbone,
        batch_size: int,
        device: torch.device,
        on_error: str = TrainConfig.on_error,
    ) -> None:
        self.part, self.spec, self.device, self.on_error = part, backbone.preprocess, device, on_error
        self.shape = image_shape(part.source, self.spec)
        self.skipped: list[dict[str, str]] = []
        self._normalize = Normalize(self.spec).to(device)
        self._pixels: torch.Tensor | None = None
        channels, height, width = self.shape
        holds = len(part) * height * width * channels <= MEMORY_BYTES
        if holds or on_error == "skip":
            self._look(chunks(np.arange(len(part)), batch_size), holds)

    def _look(self, batches: list[RowNumbers], holds: bool) -> None:
        """Decode every image once, and keep them where they are to be held."""
        channels, height, width = self.shape
        good = np.ones(len(self.part), bool)
        pixels = np.empty((len(self.part) if holds else 0, height, width, channels), np.uint8)
        place = {int(row): i for i, row in enumerate(self.part.rows)}
        for rows, found, skipped in self._decoded(batches):
            if holds:
                pixels[rows] = found
            for row, reason in skipped:
                good[place[row]] = False
                self.skipped.append({"id": self.part.source.ids[row], "reason": reason})
        if len(good) and not good.any():
            raise none_decoded([image["reason"] for image in self.skipped])
        self.part = Part(self.part.source, self.part.rows[good])
        if holds:
            self._pixels = torch.from_numpy(pixels if good.all() else pixels[good]).to(self.device)

    def _decoded(
        self, batches: list[RowNumbers]
    ) -> Iterator[tuple[RowNumbers, npt.NDArray[np.uint8], list[tuple[int, str]]]]:
        wanted = (self.part.rows[rows] for rows in batches)
        loaded = load_batches(self.part.source, wanted, self.spec, self.shape, on_error=self.on_error)
        for rows, batch in zip(batches, loaded, strict=True):
            yield rows, batch.pixels, batch.skipped

    def batches(self, batches: list[RowNumbers], augment: Augment | None) -> Iterator[tuple[RowNumbers, torch.Tensor]]:
        """Give each batch's rows and float32 images (m, C, H, W)."""
        for rows, x in self._uint8(batches):
            yield rows, self._normalize(augment(x, rows) if augment else x)

    def _uint8(self, batches: list[RowNumbers]) -> Iterator[tuple[RowNumbers, torch.Tensor]]:
        if self._pixels is None:
            for rows, pixels, _ in self._decoded(batches):
                yield rows, torch.from_numpy(pixels).to(self.device)
            return
        for rows in batches:
            yield rows, self._pixels[torch.from_numpy(rows).to(self.device)]


Loaders = dict[str, ImageLoader] | dict[str, FeatureLoader]
"""By the name of the part."""


def image_loaders(
    partition: Partition, backbone: Backbone, config: TrainConfig, device: torch.device
) -> tuple[Loaders, list[dict[str, str]]]:
    """Decode each part that has rows; return the loaders and the images that were skipped."""
    parts = {n: p for n, p in partition.parts().items() if len(p)}
    loaders = {n: ImageLoader(p, backbone, config.batch_size, device, config.on_error) for n, p in parts.items()}
    return loaders, [image for loader in loaders.values() for image in loader.skipped]


def feature_loaders(
    partition: Partition,
    backbone: Backbone,
    layer: str,
    store: FeatureStore | None,
    config: TrainConfig,
    device: torch.device,
    progress: Progress,
) -> tuple[Loaders, list[dict[str, str]]]:
    """Run the frozen base once over every row, through the store where there is one; return as `image_loaders`.

    Parameters
    ----------
    layer : str
        The node whose values the head is given.
    """
    how = ExtractConfig(precision=config.precision, device=config.device, on_error=config.on_error)
    sources = partition.sources()
    parts = {n: p for n, p in partition.parts().items() if len(p)}
    if store is None:
        return _computed_loaders(partition, backbone, layer, how, device, progress)
    extraction = extract(sources, backbone, [layer], store, how, progress)
    loaders = {}
    for name, part in parts.items():
        table = extraction.tables[part.source.split, layer]
        rows = part.rows[np.isin(part.rows, table.rows)]
        loaders[name] = FeatureLoader(
            Part(part.source, rows), np.asarray(table.X[np.searchsorted(table.rows, rows)]), device
        )
    return loaders, extraction.skipped


def _computed_loaders(
    partition: Partition,
    backbone: Backbone,
    layer: str,
    how: ExtractConfig,
    device: torch.device,
    progress: Progress,
) -> tuple[Loaders, list[dict[str, str]]]:
    """Compute in memory what a store would have kept."""
    loaders, skipped = {}, []
    for name, part in partition.parts().items():
        if not len(part):
            continue
        bad: dict[int, str] = {}
        on_skip = bad.__setitem__ if how.on_error == "skip" else None
        X = compute(part.source.subset(part.rows), backbone, [layer], how, progress, on_skip)[layer]
        good = np.setdiff1d(np.arange(len(part)), list(bad))
        loaders[name] = FeatureLoader(Part(part.source, part.rows[good]), X[good], device)
        skipped += [{"id": part.source.ids[part.rows[i]], "reason": reason} for i, reason in bad.items()]
    return loaders, skipped
