"""The images of all splits as rows one below the other: their ids, labels, hashes, and small versions of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.audit.oddities import Facts, measure
from featx.audit.thumbnails import SIDE, Bytes, each_image, lightness, pixel_digest, thumbnail
from featx.cache.schema import is_unreadable
from featx.core.specs import Progress, no_progress
from featx.data.source import Source

THUMBNAIL_BYTES = 3 * SIDE * SIDE


class AuditedImages:
    """All rows of a source's splits; what is looked at is kept in a temporary file: of a million images, 3 GB.

    Parameters
    ----------
    sources : mapping of str to Source
        By split.
    workers : int, optional
        Threads that decode; None uses one per processor.
    folder : path, optional
        Of the temporary file.
    """

    def __init__(self, sources: Mapping[str, Source], workers: int | None = None, folder: Path | None = None) -> None:
        self.sources = sources
        self.ids: list[str] = [name for source in sources.values() for name in source.ids]
        self.splits: list[str] = [split for split, source in sources.items() for _ in range(len(source))]
        self.labels = np.concatenate([source.labels for source in sources.values()])
        self.hashes = np.concatenate([source.row_hashes() for source in sources.values()])
        self.readable = ~is_unreadable(self.hashes)
        self.classes = next(iter(sources.values())).classes
        self.facts = np.full((len(self.ids), len(Facts._fields)), np.nan)
        self.digests = np.zeros((len(self.ids), 32), np.uint8)
        self._starts = dict(zip(sources, np.cumsum([0, *map(len, sources.values())]).tolist(), strict=False))
        self._workers = workers
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> AuditedImages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self.ids)

    def start(self, split: str) -> int:
        """Return the number of a split's first row."""
        return int(self._starts[split])

    def look(self, progress: Progress = no_progress) -> None:
        """Decode every image once: afterwards there are digests of pixels, thumbnails, and `facts` of each (n, 5)."""
        for split, source in self.sources.items():
            start = self._starts[split]
            rows = np.flatnonzero(self.readable[start : start + len(source)])
            seen = np.zeros(len(source), bool)
            for row, (digest, small, facts) in each_image(source, rows, _seen, self._workers, progress):
                self.facts[start + row] = facts
                self.digests[start + row] = np.frombuffer(digest, np.uint8)
                os.pwrite(self._file.fileno(), small.tobytes(), (start + row) * THUMBNAIL_BYTES)
                seen[row] = True
            self.readable[start : start + len(source)] = seen

    def sides(self) -> NDArray[np.float64]:
        """Return the shorter side of each image, px, float64 (n,); 0 for those that cannot be decoded."""
        columns = [Facts._fields.index(name) for name in ("width", "height")]
        sides: NDArray[np.float64] = np.nan_to_num(self.facts[:, columns]).min(axis=1)
        return sides

    def thumbnails(self, rows: Sequence[int] | NDArray[np.int64]) -> Bytes:
        """Return small versions, uint8 (m, 3, SIDE, SIDE); black for images that cannot be decoded."""
        found = np.zeros((len(rows), 3, SIDE, SIDE), np.uint8)
        for place, row in enumerate(map(int, rows)):
            data = os.pread(self._file.fileno(), THUMBNAIL_BYTES, row * THUMBNAIL_BYTES)
            if len(data) == THUMBNAIL_BYTES:
                found[place] = np.frombuffer(data, np.uint8).reshape(3, SIDE, SIDE)
        return found

    def lightness(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the lightness of small versions, float32 (m, SIDE, SIDE)."""
        return lightness(self.thumbnails(rows))


def _seen(pixels: Any) -> tuple[bytes, Bytes, Facts]:
    return pixel_digest(pixels), thumbnail(pixels), measure(pixels)


class ThumbnailFeatures:
    """Features of thumbnails, for those who name no network: coarse colours that do not change with mirroring.

    Parameters
    ----------
    images : AuditedImages
        Looked at.
    rows : ndarray of int64 of shape (n,)
        Which of them.
    """

    GRID = 8

    def __init__(self, images: AuditedImages, rows: NDArray[np.int64]) -> None:
        self._images, self._rows = images, rows
        self.shape = (len(rows), 3 * self.GRID * self.GRID)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the rows of a slice or of an array of numbers, float32 (m, 192)."""
        small = self._images.thumbnails(self._rows[rows]).astype(np.float32)
        step = SIDE // self.GRID
        cells = small.reshape(len(small), 3, self.GRID, step, self.GRID, step).mean(axis=(3, 5))
        half = self.GRID // 2
        mirrored = cells[..., ::-1]
        even, odd = (cells + mirrored)[..., :half], np.abs(cells - mirrored)[..., :half]
        return np.concatenate([even.reshape(len(small), -1), odd.reshape(len(small), -1)], axis=1)
