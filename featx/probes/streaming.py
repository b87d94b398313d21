"""Features on the disk as softmax regression reads them: block by block, the next one read meanwhile."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from featx.errors import OutOfMemoryError
from featx.probes.check_array import check_finite, is_finite
from featx.probes.problem import row_blocks

Array = np.ndarray[Any, Any]

READ_BYTES = 16 << 20
"""Read at once; three such pieces are held at a time."""


class Matrix(Protocol):
    """What is sliced like an array: a FeatureMatrix, a memory map, an HDF5 data set."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, rows: slice) -> Any: ...


class Stream:
    """A matrix of features that need not fit into memory, as `featx.probes.objective` takes it.

    Until all rows were read once, each that is read is looked at: the pass that gathers statistics is the one that
    finds NaN and infinity, and none is made for that alone.

    Parameters
    ----------
    matrix : Matrix of shape (n, d)
        float16, float32 or float64; float16 is computed with as float32.
    device : torch.device
        Where the blocks are wanted.
    prepare : callable, optional
        Is given each piece (m, d), all finite, and returns it changed.
    """

    def __init__(
        self,
        matrix: Matrix,
        device: torch.device | None = None,
        prepare: Callable[[Array], Array] | None = None,
    ) -> None:
        self._matrix, self._prepare = matrix, prepare
        self.device = device or torch.device("cpu")
        n, d = matrix.shape
        self.shape = (int(n), int(d))
        self.dtype = torch.float64 if matrix.dtype.itemsize > 4 else torch.float32
        self._is_finite = False  # as far as is known

    def on(self, device: torch.device) -> Stream:
        """Return the same rows for another device."""
        return Stream(self._matrix, device, self._prepare)

    @property
    def nbytes(self) -> int:
        """Bytes of the values as they are computed with."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __getitem__(self, row: int) -> Tensor:
        return self._read(row, row + 1)[0]

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield (rows, block (rows, d)), in order, while the next ones are read in a thread.

        Raises
        ------
        OptionError
            In the first pass: a value is NaN or infinite; names the first row that holds one.
        """
        d = self.shape[1]
        for start, piece in self._pieces(max(1, READ_BYTES // max(1, d * self._matrix.dtype.itemsize))):
            for rows in row_blocks(len(piece), d, self.device):
                yield slice(start + rows.start, start + rows.stop), piece[rows]
        self._is_finite = True

    def _pieces(self, size: int) -> Iterator[tuple[int, Tensor]]:
        starts = iter(range(0, self.shape[0], size))
        ahead: deque[tuple[int, Future[Tensor]]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="featx-read") as pool:
            while True:
                while len(ahead) < 2 and (start := next(starts, None)) is not None:
                    ahead.append((start, pool.submit(self._read, start, min(start + size, self.shape[0]))))
                if not ahead:
                    return
                start, piece = ahead.popleft()
                yield start, piece.result()

    def _read(self, start: int, stop: int) -> Tensor:
        wide = np.float64 if self.dtype == torch.float64 else np.float32
        piece = self._matrix[start:stop]
        if not (self._is_finite or is_finite(piece)):
            check_finite(self._matrix)  # a row before these may be the first
        # Of its own memory: a slice of a memory map would be read by the one who uses it, not by this thread.
        piece = np.require(piece if self._prepare is None else self._prepare(piece), wide, ["C", "O", "W"])
        return torch.from_numpy(piece).to(self.device)


def to_device(X: Array | Stream, device: torch.device) -> torch.Tensor | Stream:
    """Hand X to torch, without a copy on the CPU."""
    if isinstance(X, Stream):
        return X.on(device)
    if any(stride < 0 for stride in X.strides):
        X = np.ascontiguousarray(X)  # torch knows no negative strides
    with warnings.catch_warnings():
        # A read-only array is safe here: X is never written to.
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(X).to(device)


@contextmanager
def fitting_on(device: torch.device, X: Array | Stream) -> Iterator[None]:
    """Turn torch's error about a full memory into featx's."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"features of {X.nbytes / 2**20:,.0f} MiB and their fit do not fit on {device}", "give device='cpu'"
        ) from error
