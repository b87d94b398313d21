"""Images in batches, decoded ahead of the network by threads; Pillow lets go of the interpreter's lock.

The threads are daemons, which `concurrent.futures` does not offer: one that a file server or a decoder never lets go
must not keep the program from ending.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np

from featx.core.specs import PreprocessSpec
from featx.core.types import RowNumbers
from featx.data.decoding import Pixels, prepare_views, view_sizes
from featx.data.source import Source, at_bits, reading_ahead
from featx.errors import FeatxError, FeatxWarning, ImageError, OutOfMemoryError, SourceError

SLOW_SECONDS = 60.0
"""An image that takes longer is named in a warning."""

COMPUTING = 0.25
"""Threads that keep a core busy for a smaller part of the time wait for what they read from."""

Shape = tuple[int, int, int]
"""(C, H, W) of a prepared image."""

_first_shapes: WeakKeyDictionary[Source, dict[PreprocessSpec, Shape]] = WeakKeyDictionary()
"""What the first image of a source became: several stages of a run ask, and each answer costs decoding it."""


@dataclass(frozen=True)
class Batch:
    """Some rows' images, ready for the network.

    Parameters
    ----------
    rows : ndarray of int64, shape (m,)
        Row numbers in the source.
    views : list of ndarray of uint8, shape (m, H, W, C)
        The images resized and cropped, an array a view (`prepare_views`); black where an image was skipped.
    skipped : list of (row, reason)
        Images that could not be decoded.
    """

    rows: RowNumbers
    views: list[Pixels]
    skipped: list[tuple[int, str]]

    @property
    def pixels(self) -> Pixels:
        """The only view."""
        (pixels,) = self.views
        return pixels


def image_shape(source: Source, spec: PreprocessSpec) -> Shape:
    """Return (C, H, W) of a prepared image; where the spec leaves the size alone, the first image's.

    The first image is looked at once for each source and spec.

    Raises
    ------
    SourceError
        The images have other channels than the network takes; between grey and colours they are converted.
    ImageError
        None of them tells its size.
    """
    _check_channels(source, spec)
    if spec.crop is not None:
        return spec.channels, spec.crop, spec.crop
    try:
        known = _first_shapes.setdefault(source, {})
    except TypeError:  # a caller's own class may forbid hashes or weak references
        return _first_shape(source, spec)
    if spec not in known:
        known[spec] = _first_shape(source, spec)
    return known[spec]


def _first_shape(source: Source, spec: PreprocessSpec) -> Shape:
    """Return what the first image that can be decoded becomes."""
    reasons = []
    source = at_bits(source, spec.bits)
    for i in range(len(source)):
        try:
            height, width = next(prepare_views(source[i][0], spec, source.ids[i])).shape[:2]
        except ImageError as exc:
            reasons.append(exc.reason)
            continue
        return spec.channels, height, width
    raise none_decoded(reasons)


def none_decoded(reasons: Sequence[str]) -> ImageError:
    """Return the error for a source of which no image can be decoded, for these reasons."""
    first = f"; the first: {reasons[0]}" if reasons else ""
    return ImageError(f"none of the images can be decoded{first}", "check one of them")


def _check_channels(source: Source, spec: PreprocessSpec) -> None:
    has, takes = source.channels, spec.channels
    if has == takes or {has, takes} <= {1, 3}:
        return
    if takes not in (1, 3):
        hint = f"give them as an array of uint8 (n, H, W, {takes}), or as a .npy, .npz or HDF5 file of one"
    elif has - takes in (1, 3):
        hint = f"if the last one is alpha, drop it: x[..., :{has - 1}]"
    else:
        hint = "select the colour channels: x[..., [0, 1, 2]]; or use your own network that takes all of them"
    raise SourceError(
        f"images of {source.spec} have {has} channel{'s' * (has > 1)}, and the network takes {takes}", hint
    )


def load_batches(
    source: Source,
    batches: Iterable[RowNumbers],
    spec: PreprocessSpec,
    shape: Shape,
    *,
    workers: int | None = None,
    on_error: str = "raise",
    bursts: bool = False,
) -> Iterator[Batch]:
    """Decode batches of rows in the order asked, a few of them ahead.

    Parameters
    ----------
    source : Source
        Of the images.
    batches : iterable of ndarray
        Row numbers, a batch at a time.
    spec : PreprocessSpec
        Sizes and channels.
    shape : tuple of int
        (C, H, W) that every prepared image must have at scale 1.
    workers : int, optional
        Threads; one a core where None. The result does not depend on it.
    on_error : str
        ``raise``, or ``skip`` to leave images out that cannot be decoded.
    bursts : bool
        Decode a batch per thread, all before the first is given, and none while the caller works on them: for a network
        on the same cores, each of whose operators waits for the slowest of its threads. Where reading waits for a disk
        or a server more than it computes, batches are read ahead all the same.

    Raises
    ------
    ImageError
        Naming the image.
    OptionError
        The spec says how many bits of 16-bit images count, and the source holds arrays.
    OutOfMemoryError, SourceError
        Whatever else happens in a thread, naming the image.

    Warns
    -----
    FeatxWarning
        An image takes longer than `SLOW_SECONDS`.
    """
    count = workers or len(os.sched_getaffinity(0))
    crew = _Crew(at_bits(source, spec.bits), spec, shape, on_error, threading.Semaphore(count))
    ahead: deque[Future[Batch]] = deque()
    todo = iter(batches)
    try:
        while True:
            if not bursts or not ahead:
                while len(ahead) < count + (not bursts) and (rows := next(todo, None)) is not None:
                    ahead.append(crew.begin(rows))
                bursts = bursts and crew.finish_all(ahead)
            if not ahead:
                return
            yield crew.finish(ahead.popleft())
    finally:
        for future in ahead:
            future.cancel()


@dataclass
class _Crew:
    """The threads, one a batch, of which only a few decode at a time."""

    source: Source
    spec: PreprocessSpec
    shape: Shape
    on_error: str
    turns: threading.Semaphore
    reading: dict[int, tuple[int, float]] = field(default_factory=dict)
    """By thread: the row that it is at, and since when."""

    def begin(self, rows: RowNumbers) -> Future[Batch]:
        """Start a thread that loads a batch as soon as it is its turn."""
        future: Future[Batch] = Future()
        threading.Thread(target=self._run, args=(rows, future), name="featx-decode", daemon=True).start()
        return future

    def finish_all(self, futures: Iterable[Future[Batch]]) -> bool:
        """Wait for some batches, and tell whether that was computing more than waiting for what they are read from."""
        began, computed = time.perf_counter(), time.process_time()
        for future in futures:
            self._wait(future)
        return time.process_time() - computed >= COMPUTING * (time.perf_counter() - began)

    def finish(self, future: Future[Batch]) -> Batch:
        """Return a batch once it is there, or raise what became of it."""
        self._wait(future)
        return future.result()

    def _wait(self, future: Future[Batch]) -> None:
        """Wait for a batch; images that take very long are named while they do, each once."""
        named: set[int] = set()
        while not wait([future], SLOW_SECONDS / 4).done:
            since = time.monotonic() - SLOW_SECONDS
            slow = {row for row, began in list(self.reading.values()) if began <= since} - named
            named |= slow
            for row in sorted(slow):
                warnings.warn(
                    f"image {self.source.ids[row]} has been loading for {SLOW_SECONDS:g} s",
                    FeatxWarning,
                    stacklevel=3,
                )

    def _run(self, rows: RowNumbers, future: Future[Batch]) -> None:
        with reading_ahead(self.source, rows), self.turns:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(self._load(rows))
            except BaseException as exc:  # whatever it is, the one who waits must learn of it
                future.set_exception(exc)
            finally:
                self.reading.pop(threading.get_ident(), None)

    def _load(self, rows: RowNumbers) -> Batch:
        channels, height, width = self.shape
        views = [np.zeros((len(rows), h, w, channels), np.uint8) for h, w in view_sizes(self.spec, (height, width))]
        skipped = []
        for at, row in enumerate(map(int, rows)):
            self.reading[threading.get_ident()] = row, time.monotonic()
            try:
                for view, image in zip(views, self._views(row), strict=True):
                    view[at] = image
            except ImageError as exc:
                if self.on_error == "raise":
                    raise
                skipped.append((row, exc.reason))
        return Batch(rows, views, skipped)

    def _views(self, row: int) -> list[Pixels]:
        name = self.source.ids[row]
        try:
            views = list(prepare_views(self.source[row][0], self.spec, name))
        except FeatxError:
            raise
        except MemoryError as exc:
            hint = "use fewer --workers or a smaller --batch-size"
            raise OutOfMemoryError(f"memory ran out while image {name} was read", hint) from exc
        except BaseException as exc:  # a source or decoder may raise anything, even SystemExit
            said = " ".join(f"{type(exc).__name__}: {exc}".split())[:200]
            raise SourceError(f"image {name} could not be read: {said}", "check the image and its source") from exc
        if self.spec.crop is None and views[0].shape[:2] != self.shape[1:]:
            height, width = views[0].shape[:2]
            raise ImageError(
                f"image {name} has {height} x {width} px, the first one {self.shape[1]} x {self.shape[2]}",
                "give --size, so that all have the same size",
            )
        return views
