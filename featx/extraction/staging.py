"""Images to the device and rows back without waiting: pinned buffers, and copies that overlap the pass.

On CUDA three streams work at once: one copies batch n + 1 to the device, the caller's runs the pass of batch n, and one
copies the rows of batch n - 1 back. What must not overlap is ordered by events on the device; the host waits in two
places only: before it writes into a pinned buffer again, for the copy out of it, and when it takes rows, for theirs.
Events, not `Tensor.record_stream`: that leaves it to the allocator when memory is used again, and a host that runs
ahead would take more and more of it.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakSet

import numpy.typing as npt
import torch

from featx.data.decoding import Pixels
from featx.errors import FeatxWarning

BUFFERS = 2
"""Of images: one is copied from while the other is filled. More would only help a host that is two batches ahead."""

ALIGNMENT = 256
"""Bytes at whose multiples arrays begin in a buffer, as they do in memory of their own."""

Rows = list[npt.NDArray[Any]]
T = TypeVar("T")
_cuda: Any = torch.cuda  # its streams and events have no types


class Event(Protocol):
    """A mark in a stream."""

    def synchronize(self) -> None:
        """Let the host wait until all that stands before it is done."""


class Stream(Protocol):
    """Work that a device does in order."""

    def wait_event(self, event: Any) -> None:
        """Let what is given to it from here on wait for a mark; the host does not."""


class Streams(Protocol):
    """What `Staging` uses of a device: `CudaStreams`, or one that records what is asked of it."""

    device: torch.device
    up: Stream
    down: Stream

    def current(self) -> Stream:
        """Return the one on which the caller computes."""

    def mark(self, stream: Stream) -> Event:
        """Put a mark behind all that a stream was given so far."""

    def copy(self, target: torch.Tensor, source: torch.Tensor, stream: Stream) -> None:
        """Give a copy to a stream, and return at once."""

    def pinned(self, size: int) -> torch.Tensor:
        """Return so many bytes of the host's memory that the device copies from and to by itself."""

    def on_device(self, size: int) -> torch.Tensor:
        """Return so many bytes of the device's memory, which `up` is the first to use."""


class CudaStreams:
    """The streams of a GPU.

    Parameters
    ----------
    device : torch.device
        Without a number, the current one.
    """

    def __init__(self, device: torch.device) -> None:
        # With its number, as tensors have it: torch.device("cuda") equals none of theirs.
        self.device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
        self.up: Stream = _cuda.Stream(self.device)
        self.down: Stream = _cuda.Stream(self.device)
        self._locks = True

    def current(self) -> Stream:
        """Return the one on which the caller computes."""
        return torch.cuda.current_stream(self.device)

    def mark(self, stream: Any) -> Event:
        """Put a mark behind all that a stream was given so far."""
        # A blocking one lets the host sleep: by default it would spin, on a core that could decode.
        event: Event = stream.record_event(_cuda.Event(blocking=True))
        return event

    def copy(self, target: torch.Tensor, source: torch.Tensor, stream: Any) -> None:
        """Give a copy to a stream, and return at once, the host's side of it being pinned."""
        with _cuda.stream(stream):
            target.copy_(source, non_blocking=True)

    def pinned(self, size: int) -> torch.Tensor:
        """Return so many bytes of page-locked memory; of ordinary memory, once there are no more.

        Warns
        -----
        FeatxWarning
            From here on copies wait for the pass, and it for them: CUDA orders those of ordinary memory by itself.
        """
        if self._locks:
            try:
                with torch.cuda.device(self.device):  # else torch would begin to use the first GPU as well
                    return torch.empty(size, dtype=torch.uint8, pin_memory=True)
            except RuntimeError as exc:
                self._locks = False
                said = " ".join(str(exc).split("\n")[0].split())
                warnings.warn(
                    f"no memory can be page-locked, the GPU waits for images: {said}", FeatxWarning, stacklevel=2
                )
                # CUDA tells this failure once more, to the kernel that is launched next: let it be this one.
                with suppress(RuntimeError):
                    torch.ones(1, device=self.device)
        return torch.empty(size, dtype=torch.uint8)

    def on_device(self, size: int) -> torch.Tensor:
        """Return so many bytes of the GPU's memory, of that which `up` used before."""
        with _cuda.stream(self.up):
            return torch.empty(size, dtype=torch.uint8, device=self.device)


class _Slot(NamedTuple):
    """Room for the images of one batch, on the host and on the device."""

    pinned: torch.Tensor
    on_device: torch.Tensor
    copied: Event
    """From then on the host may write into `pinned`."""
    consumed: Event
    """From then on `up` may write into `on_device`."""


class Pending:
    """Rows on their way to the host.

    Parameters
    ----------
    arrive : callable
        Waits for them and returns them; called once, at most.
    """

    def __init__(self, arrive: Callable[[], Rows]) -> None:
        self._arrive: Callable[[], Rows] | None = arrive
        self._rows: Rows = []

    def rows(self) -> Rows:
        """Return the arrays, one for each tensor that was fetched, the caller's own; waits until they are there."""
        if self._arrive is not None:
            self._rows = self._arrive()
            self._arrive = None  # and with it the memory that it held on the device
        return self._rows


class Staging:
    """The way of images to a device and of rows back; on the CPU there is none to go.

    For one thread. In whatever order it is called, and whatever raises, nothing is written into a buffer while a copy
    from it or into it is under way. What makes it quick is to ask for rows late (`in_turn`).

    Parameters
    ----------
    device : torch.device
        Where the network runs.
    streams : Streams, optional
        Of that device; None takes those of a GPU, and for the CPU none.
    """

    def __init__(self, device: torch.device, streams: Streams | None = None) -> None:
        self._streams = CudaStreams(device) if streams is None and device.type == "cuda" else streams
        self.device = self._streams.device if self._streams else device
        self.ahead = 1 if self._streams else 0
        self._slots: deque[_Slot] = deque()
        self._returned: list[torch.Tensor] = []  # pinned buffers of rows that were taken
        self._pending: WeakSet[Pending] = WeakSet()

    @contextmanager
    def sent(self, views: Sequence[Pixels]) -> Iterator[list[torch.Tensor]]:
        """Give the views on the device; within the block, work for the current stream may read them.

        Parameters
        ----------
        views : sequence of ndarray of uint8, shape (n, H, W, C)
            On a GPU free to be changed once the block has begun; on the CPU they are what is given.

        Raises
        ------
        MemoryError, torch.OutOfMemoryError
            There is no room for them.
        """
        given = [torch.from_numpy(view) for view in views]
        if self._streams is None:
            yield given
            return
        size, streams = _size(given), self._streams
        pinned, on_device = self._room(size, streams)
        for part, view in zip(_parts(pinned, given), given, strict=True):
            part.copy_(view)
        # Until the end, these buffers belong to nobody else: if anything raises before the block has begun they are
        # dropped, and torch gives pinned memory away only after the copies that it was told of.
        streams.copy(on_device[:size], pinned[:size], streams.up)
        copied, compute = streams.mark(streams.up), streams.current()
        compute.wait_event(copied)
        try:
            yield _parts(on_device, given)
        finally:
            self._slots.append(_Slot(pinned, on_device, copied, streams.mark(compute)))

    def _room(self, size: int, streams: Streams) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a buffer on the host and one on the device for so many bytes, which may be written to."""
        if len(self._slots) >= BUFFERS:
            slot = self._slots.popleft()
            slot.copied.synchronize()
            # Also before a larger one is allocated, which may be given the memory of this one.
            streams.up.wait_event(slot.consumed)
            if len(slot.pinned) >= size:
                return slot.pinned, slot.on_device
        with torch.inference_mode(False):  # tensors that are made in that mode cannot be written to outside of it
            return streams.pinned(size), streams.on_device(size)

    def fetch(self, tensors: Sequence[torch.Tensor]) -> Pending:
        """Begin to copy what the current stream computes to the host.

        Parameters
        ----------
        tensors : sequence of Tensor
            On the device, and written to no more.

        Raises
        ------
        ValueError
            One of them is on another device.
        MemoryError
            There is no room for them.
        """
        others = [str(tensor.device) for tensor in tensors if tensor.device != self.device]
        if others:
            raise ValueError(f"a tensor to fetch is on {others[0]}, expected {self.device}")
        held = list(tensors)
        pending = Pending(self._begin(held, self._streams) if self._streams else lambda: [t.numpy() for t in held])
        self._pending.add(pending)
        return pending

    def _begin(self, held: list[torch.Tensor], streams: Streams) -> Callable[[], Rows]:
        """Begin the copies; return what waits for them."""
        size = _size(held)
        pinned = self._returned.pop() if self._returned else None
        if pinned is None or len(pinned) < size:
            with torch.inference_mode(False):
                pinned = streams.pinned(size)
        targets = _parts(pinned, held)
        streams.down.wait_event(streams.mark(streams.current()))
        for target, tensor in zip(targets, held, strict=True):
            streams.copy(target, tensor, streams.down)
        done = streams.mark(streams.down)

        def arrive() -> Rows:
            done.synchronize()
            held.clear()  # not before: the memory belongs to the stream that computed them, which would use it again
            rows = [target.numpy().copy() for target in targets]
            self._returned.append(pinned)
            return rows

        return arrive

    def release(self) -> None:
        """Wait for all that is under way, and let go of the buffers: memory ran out, or the work is done."""
        for pending in list(self._pending):
            pending.rows()
        for slot in self._slots:
            slot.copied.synchronize()
            slot.consumed.synchronize()
        self._slots.clear()
        self._returned.clear()


def in_turn(begun: Iterable[tuple[T, Pending]], ahead: int) -> Iterator[tuple[T, Rows]]:
    """Give what was begun with its rows, in order, asking for them only once `ahead` more have begun.

    If one cannot be begun, those before it are given first: they are done.
    """
    waiting: deque[tuple[T, Pending]] = deque()
    todo = iter(begun)
    while True:
        try:
            one = next(todo, None)
        except Exception:
            yield from _given(waiting, 0)
            raise
        if one is None:
            yield from _given(waiting, 0)
            return
        waiting.append(one)
        yield from _given(waiting, ahead)


def _given(waiting: deque[tuple[T, Pending]], most: int) -> Iterator[tuple[T, Rows]]:
    """Give the first ones until at most so many are left."""
    while len(waiting) > most:
        what, pending = waiting.popleft()
        yield what, pending.rows()


def _size(tensors: Sequence[torch.Tensor]) -> int:
    """Return the bytes of a buffer that holds all of them."""
    return sum(_padded(tensor.nbytes) for tensor in tensors)


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _parts(buffer: torch.Tensor, like: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return views of a buffer, one after the other, with these types and shapes."""
    parts, at = [], 0
    for tensor in like:
        parts.append(buffer[at : at + tensor.nbytes].view(tensor.dtype).view(tensor.shape))
        at += _padded(tensor.nbytes)
    return parts
