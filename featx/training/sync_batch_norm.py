"""Batch norm over a batch that several processes share: the statistics of the whole batch, as one process has them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.nn.modules._functions import SyncBatchNorm as DeviceBatchNorm
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from featx.training.world import World


class SyncBatchNorm:
    """Lets the batch norms of a network see the whole batch, in training mode.

    torch's own `nn.SyncBatchNorm` runs on GPUs alone and knows three classes; here every module that is a batch norm
    keeps its own forward pass, activations in it included, and only what it calls `functional.batch_norm` is replaced.

    Parameters
    ----------
    world : World
        Who shares the batch.

    Attributes
    ----------
    on : bool
        Off for a batch that every process computes whole.
    """

    def __init__(self, world: World) -> None:
        self.world, self.on = world, True

    @contextlib.contextmanager
    def within(self, network: nn.Module) -> Iterator[None]:
        """Synchronise a network's batch norms within the block; its weights stay as they are."""
        before = [(m, type(m)) for m in network.modules() if isinstance(m, _BatchNorm)]
        classes = {kind: type(kind.__name__, (_Synchronized, kind), {"sync": self}) for _, kind in before}
        for module, kind in before:
            module.__class__ = classes[kind]
        try:
            yield
        finally:
            for module, kind in before:
                module.__class__ = kind

    def batch_norm(
        self,
        input: torch.Tensor,
        running_mean: torch.Tensor | None,
        running_var: torch.Tensor | None,
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> torch.Tensor:
        """Do as `functional.batch_norm`, with the mean and variance of all processes' images."""
        if not training:
            return functional.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
        normalized: torch.Tensor
        if input.device.type == "cuda":
            normalized = DeviceBatchNorm.apply(
                input, weight, bias, running_mean, running_var, eps, momentum, dist.group.WORLD, self.world.size
            )
        else:
            normalized = _WholeBatchNorm.apply(
                input, weight, bias, running_mean, running_var, momentum, eps, self.world
            )
        return normalized


class _Synchronized(nn.Module):
    """Stands before a batch norm's own class."""

    sync: SyncBatchNorm

    def forward(self, input: torch.Tensor) -> Any:
        # In evaluation every process computes batches of its own.
        with _Replacing(self.sync) if self.training and self.sync.on else contextlib.nullcontext():
            return super().forward(input)


class _Replacing(TorchFunctionMode):
    def __init__(self, sync: SyncBatchNorm) -> None:
        super().__init__()
        self._sync = sync

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (self._sync.batch_norm if func is functional.batch_norm else func)(*args, **(kwargs or {}))


class _WholeBatchNorm(torch.autograd.Function):
    """Batch norm of images (m, C, ...) on CPUs; sums over the processes are in float64, a few values a channel."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        running_mean: torch.Tensor | None,
        running_var: torch.Tensor | None,
        momentum: float,
        eps: float,
        world: World,
    ) -> torch.Tensor:
        mean, var, n = _moments(x, world)
        if n < 2:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        if running_var is not None:
            running_var.lerp_((var * n / (n - 1)).to(running_var.dtype), momentum)
        mean, var = (values.to(_wide(x)) for values in (mean, var))
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt())
        ctx.n, ctx.world = n, world
        return functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors  # scale: 1 / standard deviation
        shape = (1, -1, *[1] * (x.ndim - 2))
        apart = x.to(mean.dtype) - mean.view(shape)
        wide = gradient.to(mean.dtype)
        dims = _all_but_channels(x)
        of_bias, of_apart = wide.sum(dims), (wide * apart).sum(dims)
        sums = torch.stack([of_bias, of_apart]).double()
        dist.all_reduce(sums, group=ctx.world.group)
        shift, slope = (sums / ctx.n).to(mean.dtype)
        of_x = wide - shift.view(shape) - apart * (slope * scale * scale).view(shape)
        of_x = of_x * (scale if weight is None else scale * weight).view(shape)
        of_weight = None if weight is None else (of_apart * scale).to(weight.dtype)
        return of_x.to(x.dtype), of_weight, of_bias if weight is not None else None, *[None] * 5


def _wide(x: torch.Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _all_but_channels(x: torch.Tensor) -> list[int]:
    return [dim for dim in range(x.ndim) if dim != 1]


def _moments(x: torch.Tensor, world: World) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return mean and variance a channel in float64, and the number of values, over all processes' images."""
    var, mean = torch.var_mean(x.to(_wide(x)), _all_but_channels(x), correction=0)
    n = torch.full_like(mean, x.numel() / x.shape[1])
    own = torch.stack([n, mean, var]).double()
    found = [torch.empty_like(own) for _ in range(world.size)]
    dist.all_gather(found, own, group=world.group)
    counts, means, variances = torch.stack(found, 1)  # (processes, C) each
    total = counts.sum(0)
    whole = (counts * means).sum(0) / total
    # Chan, Golub and LeVeque, 1979: nothing is lost where a channel varies little about a large mean.
    spread = (counts * (variances + (means - whole).square())).sum(0) / total
    return whole, spread, int(total[0])
