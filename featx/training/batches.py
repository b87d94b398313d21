"""What the training loop eats: a part's images, or the cached features of a frozen base."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from featx.training.launch import launched
from featx.training.world import ALONE, World

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
    world : World
        The processes that each decode some of the images that all of them hold.
    """

    def __init__(
        self,
        part: Part,
        backbone: Backbone,
        batch_size: int,
        device: torch.device,
        on_error: str = TrainConfig.on_error,
        world: World = ALONE,
    ) -> None:
        self.part, self.spec, self.device, self.on_error = part, backbone.preprocess, device, on_error
        self.world = world
        self.shape = image_shape(part.source, self.spec)
        self.skipped: list[dict[str, str]] = []
        self._normalize = Normalize(self.spec).to(device)
        self._pixels: torch.Tensor | None = None
        channels, height, width = self.shape
        holds = world.share(len(part) * height * width * channels <= self._memory_bytes())
        if holds or on_error == "skip":
            self._look(chunks(np.arange(len(part)), batch_size), holds)

    def _memory_bytes(self) -> int:
        """Return how much this process may hold: on a machine's own memory, its share."""
        return MEMORY_BYTES // (min(launched().local_size, self.world.size) if self.device.type == "cpu" else 1)

    def _look(self, batches: list[RowNumbers], holds: bool) -> None:
        """Decode every image once, each process its share of them, and keep all where they are to be held."""
        channels, height, width = self.shape
        good = np.ones(len(self.part), bool)
        # Sums over processes need zeros where another one decodes.
        empty = np.empty if self.world.size == 1 else np.zeros
        pixels = empty((len(self.part) if holds else 0, height, width, channels), np.uint8)
        bad: list[tuple[int, str]] = []
        for rows, found, skipped in self._decoded(self.world.own(batches)):
            if holds:
                pixels[rows] = found
            bad += skipped
        self.world.add(pixels)
        place = {int(row): i for i, row in enumerate(self.part.rows)}
        for row, reason in sorted((int(row), reason) for some in self.world.gather(bad) for row, reason in some):
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
    partition: Partition, backbone: Backbone, config: TrainConfig, device: torch.device, world: World = ALONE
) -> tuple[Loaders, list[dict[str, str]]]:
    """Decode each part that has rows; return the loaders and the images that were skipped."""
    parts = {n: p for n, p in partition.parts().items() if len(p)}
    loaders = {n: ImageLoader(p, backbone, config.batch_size, device, config.on_error, world) for n, p in parts.items()}
    return loaders, [image for loader in loaders.values() for image in loader.skipped]


def shared_feature_loaders(
    world: World, partition: Partition, device: torch.device, load: Callable[[], tuple[Loaders, list[dict[str, str]]]]
) -> tuple[Loaders, list[dict[str, str]]]:
    """Have process 0 run the frozen base, by `feature_loaders`, and give the features to the others."""
    if world.size == 1:
        return load()
    loaders, skipped = load() if world.first else ({}, [])
    own: dict[str, torch.Tensor] = {}
    for name, loader in loaders.items():
        assert isinstance(loader, FeatureLoader)
        own |= {f"{name}.rows": torch.from_numpy(loader.part.rows), f"{name}.X": loader.X}
    found, skipped = world.share_tensors(own), world.share(skipped)
    if world.first:
        return loaders, skipped
    sources = {name: part.source for name, part in partition.parts().items()}
    names = [name.removesuffix(".X") for name in found if name.endswith(".X")]
    return {
        name: FeatureLoader(Part(sources[name], found[f"{name}.rows"].numpy()), found[f"{name}.X"].numpy(), device)
        for name in names
    }, skipped


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
