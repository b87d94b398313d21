"""The network of a training as each of several processes has it: equal weights, each its slice of a batch."""

from __future__ import annotations

import contextlib
import copy
import os
import warnings
from collections.abc import Iterator

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from featx.core.device import pick_device
from featx.core.device_names import HINT
from featx.core.rng import isolated_rng
from featx.errors import OptionError
from featx.graph.outputs import logits_of
from featx.training.batches import FeatureLoader, ImageLoader
from featx.training.launch import launched
from featx.training.sync_batch_norm import SyncBatchNorm
from featx.training.world import ALONE, Portion, World


class Replicas:
    """Runs a network so that the gradients are those of the whole batch in one process.

    Parameters
    ----------
    module : nn.Module
        Maps a batch of inputs to logits.
    world : World
        The processes that share each batch.
    device : torch.device
        This process's.
    sync_batch_norm : bool
        Whether batch norm sees the whole batch, or each process its own slice, process 0's running statistics counting.
    idle : bool
        Whether some parameters that learn are not used by the network.

    Attributes
    ----------
    forward : nn.Module
        What is called in training: the network itself where there is one process.
    """

    def __init__(
        self,
        module: nn.Module,
        world: World = ALONE,
        device: torch.device | None = None,
        *,
        sync_batch_norm: bool = True,
        idle: bool = False,
    ) -> None:
        self.module, self.world, self.device = module, world, device
        self._sync = SyncBatchNorm(world) if sync_batch_norm and world.size > 1 else None
        self.forward: nn.Module = module
        self._parallel: DistributedDataParallel | None = None
        if world.size > 1:
            # Equal weights to begin with: those of process 0 are sent to the others.
            self.forward = self._parallel = DistributedDataParallel(
                module,
                device_ids=[device] if device is not None and device.type == "cuda" else None,
                find_unused_parameters=idle,
                process_group=self._group,
            )

    @property
    def _group(self) -> dist.ProcessGroup | None:
        """What tensors of the device are exchanged through: by default torch's own."""
        on_gpu = self.device is not None and self.device.type == "cuda"
        return dist.group.WORLD if on_gpu else self.world.group

    @contextlib.contextmanager
    def synchronized(self) -> Iterator[None]:
        """Let batch norms see whole batches within the block, where that is wanted."""
        if self.world.size == 1:
            yield
            return
        with warnings.catch_warnings(), self._sync.within(self.module) if self._sync else contextlib.nullcontext():
            # Of kernels of one channel, whose layout has two names, DDP remarks that they might be slower.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")
            yield

    @contextlib.contextmanager
    def computing(self, portion: Portion, batch: int, *, last: bool) -> Iterator[None]:
        """Run a pass forward and backward within the block.

        Parameters
        ----------
        portion : Portion
            What is computed.
        batch : int
            Which of the step's batches it is.
        last : bool
            Whether gradients are exchanged after it: after the last batch of a step.
        """
        if self._parallel is None:
            yield
            return
        if self._sync:
            self._sync.on = portion.copies == 1
        with contextlib.nullcontext() if last else self._parallel.no_sync():
            yield

    @contextlib.contextmanager
    def own_chance(self, batch: int) -> Iterator[None]:
        """Draw dropout and the like within the block from numbers of this process's own.

        What is drawn outside, for blending a batch, remains the same in all of them, and the same as in one process.
        """
        if self.world.size == 1:
            yield
            return
        seeds = np.random.SeedSequence([torch.initial_seed(), batch, self.world.rank])
        with isolated_rng(int(seeds.generate_state(1, np.uint64)[0] >> 1), self.device or torch.device("cpu")):
            yield

    def share_of(self, portion: Portion) -> float:
        """Return the factor of a process's sum of losses that makes the mean of all gradients the whole batch's."""
        return self.world.size / portion.copies

    def align(self) -> None:
        """Give all processes the running statistics of process 0."""
        if self.world.size > 1:
            with torch.no_grad():
                for buffer in self.module.buffers():
                    dist.broadcast(buffer, 0, group=self._group)


def device_of(name: str, world: World) -> torch.device:
    """Return this process's device: of several on a machine each has a GPU of its own.

    Raises
    ------
    OptionError
        For a device that is unknown or absent, one GPU for several processes, or GPUs in some processes only.
    """
    device = pick_device(name)
    if world.size == 1:
        return device
    if device.type == "cuda":
        device = torch.device("cuda", _gpu(device.index, world))
        torch.cuda.set_device(device)
    kinds = world.gather(device.type)
    if len(set(kinds)) > 1:
        raise OptionError(
            f"processes compute on {', '.join(kinds)}, expected all on the same kind of device",
            "give --device cpu, or launch only as many processes as there are GPUs",
        )
    return device


def _gpu(asked: int | None, world: World) -> int:
    found, count = launched(), torch.cuda.device_count()
    if asked is not None and (found.local_size if found.size > 1 else world.size) > 1:
        raise OptionError(
            f"device is cuda:{asked} for {world.size} processes, expected a GPU for each", "leave --device out"
        )
    if found.size == 1:  # the group is the caller's own, and so is its choice
        return torch.cuda.current_device()
    if found.local_rank < count:
        return found.local_rank
    if count == 1 and "CUDA_VISIBLE_DEVICES" in os.environ:  # a scheduler shows each process its own
        return 0
    raise OptionError(
        f"{found.local_size} processes on this machine, and torch finds {count} CUDA device(s)",
        f"launch one process per GPU; {HINT}",
    )


def has_idle_parameters(module: nn.Module, loader: ImageLoader | FeatureLoader, n_classes: int, world: World) -> bool:
    """Tell whether some of what learns in a network is not used by it, by running two rows through a copy."""
    if world.size == 1:
        return False
    probe = copy.deepcopy(module).train()
    rows = np.arange(2)
    _, x = next(iter(loader.batches([rows], None)))
    with isolated_rng(0, x.device):
        outputs = logits_of(probe(x), n_classes)
    learns = [p for p in probe.parameters() if p.requires_grad]
    found = torch.autograd.grad(torch.stack([out.sum() for out in outputs]).sum(), learns, allow_unused=True)
    return bool(world.share(any(gradient is None for gradient in found)))
