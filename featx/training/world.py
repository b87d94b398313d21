"""The processes that train together, and what they tell each other.

All exchange goes through one group of gloo's, over plain memory, whatever the device: gradients and the statistics of
batch norm on GPUs apart, which take the default group. JSON and tensors travel, never pickles.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from featx.errors import OptionError, WorkerError
from featx.training.launch import launched

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from featx.core.types import RowNumbers

    Tensors = Mapping[str, torch.Tensor]

PATIENCE = timedelta(hours=24)
"""So long the others wait while process 0 computes a base's features, or writes. One that dies is noticed at once."""

PIECE = 1 << 26
"""Elements that are exchanged at once."""

FEWEST = 2
"""Images of a batch for each process: a batch of fewer is computed by all, so that batch norm has more than one."""


class LostProcessError(WorkerError):
    """Another process of the training ended, or cannot be reached."""


@dataclass(frozen=True)
class Portion:
    """What one process computes of a batch.

    Parameters
    ----------
    rows : ndarray
        What it loads.
    lead : int
        So many rows come before its own, to be blended into the first of them.
    copies : int
        How many processes compute these rows.
    """

    rows: RowNumbers
    lead: int = 0
    copies: int = 1


class World:
    """The processes that train together, as one of them sees them; without a group there is one.

    Parameters
    ----------
    rank, size : int
        This process's number, and how many there are.
    group : ProcessGroup
        Of gloo's, of all of them.
    """

    def __init__(self, rank: int = 0, size: int = 1, group: Any = None) -> None:
        self.rank, self.size, self.group = rank, size, group

    @property
    def first(self) -> bool:
        """Whether this process speaks, asks and writes for all."""
        return self.rank == 0

    def share(self, value: Any) -> Any:
        """Return process 0's value, which JSON can hold."""
        return value if self.size == 1 else self._from(0, value)

    def gather(self, value: Any) -> list[Any]:
        """Return every process's value, which JSON can hold, in their order."""
        return [value] if self.size == 1 else [self._from(rank, value) for rank in range(self.size)]

    def _from(self, rank: int, value: Any) -> Any:
        import torch

        text = json.dumps(value).encode() if self.rank == rank else b""
        length = torch.tensor([len(text)])
        self._broadcast(length, rank)
        data = torch.zeros(int(length), dtype=torch.uint8)
        if self.rank == rank:
            data.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        self._broadcast(data, rank)
        return json.loads(data.numpy().tobytes())

    def share_tensors(self, tensors: Tensors) -> dict[str, torch.Tensor]:
        """Return process 0's tensors by name, in memory."""
        if self.size == 1:
            return dict(tensors)
        import torch

        shapes = {n: [str(t.dtype).removeprefix("torch."), *t.shape] for n, t in tensors.items()}
        found: dict[str, torch.Tensor] = {}
        for name, (dtype, *shape) in self.share(shapes).items():
            own = tensors[name].cpu().contiguous() if self.first else torch.empty(shape, dtype=getattr(torch, dtype))
            self._broadcast(own, 0)
            found[name] = own
        return found

    def _broadcast(self, tensor: torch.Tensor, rank: int) -> None:
        import torch.distributed as dist

        for piece in tensor.view(-1).split(PIECE):  # type: ignore[no-untyped-call]
            dist.broadcast(piece, rank, group=self.group)

    def add(self, values: npt.NDArray[Any]) -> None:
        """Add up an array over the processes, in place in each."""
        if self.size == 1:
            return
        import torch
        import torch.distributed as dist

        for piece in torch.from_numpy(values.reshape(-1)).split(PIECE):  # type: ignore[no-untyped-call]
            dist.all_reduce(piece, group=self.group)

    def total(self, *values: float) -> list[float]:
        """Return numbers added up over the processes, the same in each."""
        if self.size == 1:
            return list(values)
        import numpy as np

        sums = np.array(values, np.float64)
        self.add(sums)
        found: list[float] = sums.tolist()
        return found

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let process 0 do a block first, and the others after it find what it downloaded or remembered."""
        if not self.first:
            self.share(None)
        yield
        if self.first:
            self.share(None)

    def own(self, batches: list[RowNumbers]) -> list[RowNumbers]:
        """Return this process's share of batches that are computed whole."""
        return batches[self.rank :: self.size]

    def portion(self, batch: RowNumbers, *, blends: bool) -> Portion:
        """Return this process's slice of a batch.

        Parameters
        ----------
        blends : bool
            Whether each image is blended with the one before it in the batch, and the first with the last: then that
            of another process is needed too.
        """
        if self.size == 1:
            return Portion(batch)
        if len(batch) < FEWEST * self.size:
            return Portion(batch, copies=self.size)
        start, stop = (len(batch) * rank // self.size for rank in (self.rank, self.rank + 1))
        lead = int(blends)
        return Portion(batch.take(range(start - lead, stop)), lead)

    def check_batch(self, size: int) -> None:
        """Raise OptionError for batches of which a process would get no two images."""
        if self.size > 1 and size < FEWEST * self.size:
            raise OptionError(
                f"batch-size is {size} for {self.size} processes, which share each batch, expected at least "
                f"{FEWEST * self.size}",
                "give a larger --batch-size, or launch fewer processes",
            )


ALONE = World()
"""One process."""


@contextlib.contextmanager
def joined() -> Iterator[World]:
    """Give the processes of torch's initialised process group, or this one alone.

    Raises
    ------
    LostProcessError
        Another of them ended within the block.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        yield ALONE
        return
    with noticing_loss():
        group = dist.new_group(backend="gloo", timeout=PATIENCE)
        try:
            yield World(dist.get_rank(), dist.get_world_size(), group)
        finally:
            with contextlib.suppress(RuntimeError, ValueError):  # the caller may have ended them all
                dist.destroy_process_group(group)


@contextlib.contextmanager
def noticing_loss() -> Iterator[None]:
    """Turn what torch says of a process that cannot be reached into one line."""
    try:
        yield
    except RuntimeError as exc:
        if not _is_loss(exc):
            raise
        raise LostProcessError(
            f"another process of this training ended or cannot be reached (seen by process {launched().rank})",
            "look for its own message; the same command with --resume resumes from the last checkpoint",
        ) from exc


def _is_loss(exc: RuntimeError) -> bool:
    import torch.distributed as dist

    said = str(exc)
    # Of gloo's own errors some are plain RuntimeErrors, which name its source files.
    return isinstance(exc, dist.DistError) or "gloo/" in said or "Connection closed by peer" in said
