"""Optimizers, their parameter groups, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from featx.training.config import TrainConfig

ONE_CYCLE_UP, ONE_CYCLE_START, ONE_CYCLE_END = 0.3, 1 / 25, 1 / 25e4
"""Share of the steps that rise, and the first and last learning rate, as in torch's ``OneCycleLR``."""

STEP_AT, STEP_FACTOR = (0.5, 0.75), 0.1
"""Where the learning rate falls, and to what share (He et al., 2016, section 4.2)."""

PLATEAU_PATIENCE, PLATEAU_FACTOR = 3, 0.1
"""Epochs without a lower loss after which it falls, and to what share."""


def groups_of(
    module: nn.Module, head: nn.Module, config: TrainConfig, rates: Mapping[nn.Parameter, float] | None = None
) -> list[dict[str, Any]]:
    """Return the optimizer's parameter groups: all that learns and nothing else, biases and norms without decay.

    Each has a ``scale``: its learning rate over the schedule's, that of some parameters times what `rates` says.
    """
    in_head = {id(p) for p in head.parameters()}
    groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            rate = (rates or {}).get(parameter, 1.0)
            groups.setdefault((id(parameter) in in_head, parameter.ndim > 1, rate), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": config.decay if decays else 0.0,
            "scale": rate * (config.head_lr_factor if of_head else 1.0),
        }
        for (of_head, decays, rate), parameters in groups.items()
    ]


def make_optimizer(groups: list[dict[str, Any]], config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer that was asked for; its learning rates are set by `set_lr`.

    Torch's fused optimizers copy what is not contiguous there and back: a tenth of a step of ResNet-18 at 32 px, whose
    kernels lie in channels-last layout. So they are given the same memory under another shape, and `take_gradients`
    brings the gradients along. A group's ``owners`` are the parameters themselves.
    """
    groups = [{**group, "owners": group["params"], "params": _contiguous(group["params"])} for group in groups]
    if config.optimizer == "sgd":
        return _sgd(groups, config)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, config.peak_lr, betas=(config.momentum, 0.999), fused=True)


def _sgd(groups: list[dict[str, Any]], config: TrainConfig) -> torch.optim.SGD:
    has_momentum = config.momentum > 0
    sgd = torch.optim.SGD(groups, config.peak_lr, momentum=config.momentum, nesterov=has_momentum, fused=True)
    if has_momentum:
        # Torch's own first buffer is uninitialised memory, which a first step that fp16's scaler refuses leaves behind;
        # and parameters that get their first gradient later have none.
        for parameter in (p for group in sgd.param_groups for p in group["params"]):
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


def _contiguous(parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    """Return the same memory in the shape in which it is contiguous: (N, H, W, C) of channels-last kernels."""
    return [nn.Parameter(_nhwc(p.detach()), p.requires_grad) if _is_channels_last(p) else p for p in parameters]


def _is_channels_last(tensor: torch.Tensor) -> bool:
    return not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)


def _nhwc(tensor: torch.Tensor) -> torch.Tensor:
    """Return a view (N, H, W, C) of a tensor (N, C, H, W)."""
    return tensor.permute(0, 2, 3, 1)


def forget_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Let go of the gradients of all that learns."""
    optimizer.zero_grad(set_to_none=True)
    for _, owner in _held_and_owners(optimizer):
        owner.grad = None


def take_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Show the optimizer the gradients of the parameters whose memory it holds."""
    for held, owner in _held_and_owners(optimizer):
        if held is not owner:
            held.grad = None if owner.grad is None else _nhwc(owner.grad)


def _held_and_owners(optimizer: torch.optim.Optimizer) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
    """Give what the optimizer holds of each parameter, and the parameter."""
    for group in optimizer.param_groups:
        yield from zip(group["params"], group["owners"], strict=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group, in its own scale."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]


class Schedule:
    """The learning rate, a function of the step and, for ``plateau``, of the history alone: nothing to be saved.

    Parameters
    ----------
    config : TrainConfig
        Kind, peak, warm-up and epochs.
    steps : int
        Of an epoch.
    """

    def __init__(self, config: TrainConfig, steps: int) -> None:
        self.config = config
        self.warmup = config.warmup_epochs * steps
        self.total = config.epochs * steps

    def __call__(self, step: int, history: Sequence[Mapping[str, float]] = ()) -> float:
        """Return the learning rate of a step, counted from 0, after the epochs of `history`."""
        if step < self.warmup:
            return self.config.peak_lr * (step + 1) / self.warmup
        step, total = step - self.warmup, self.total - self.warmup
        factors: dict[str, Callable[[], float]] = {
            "constant": lambda: 1.0,
            "step": lambda: STEP_FACTOR ** sum(step >= share * total for share in STEP_AT),
            "cosine": lambda: _between(1.0, 0.0, step / total),
            "onecycle": lambda: _one_cycle(step, total),
            "plateau": lambda: PLATEAU_FACTOR ** _plateaus(history),
        }
        return self.config.peak_lr * factors[self.config.schedule]()


def _between(start: float, end: float, share: float) -> float:
    """Return the value on half a cosine's way."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def _one_cycle(step: int, total: int) -> float:
    top = ONE_CYCLE_UP * total - 1
    if step <= top:
        return _between(ONE_CYCLE_START, 1.0, step / max(top, 1e-9))
    return _between(1.0, ONE_CYCLE_END, min(1.0, (step - top) / max(total - 1 - top, 1e-9)))


def _plateaus(history: Sequence[Mapping[str, float]]) -> int:
    """Count how often the loss, validation's where there is one, has not fallen for `PLATEAU_PATIENCE` epochs."""
    best, waited, count = math.inf, 0, 0
    for line in history:
        loss = line.get("val_loss", line["train_loss"])
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited > PLATEAU_PATIENCE:
            waited, count = 0, count + 1
    return count
