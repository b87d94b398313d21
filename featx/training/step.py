"""One step of training: loss, gradient, update."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from featx.core.device import arithmetic
from featx.core.rng import reseed
from featx.errors import FeatureError, OptionError, first_few
from featx.graph.outputs import logits_of
from featx.training.augment import Mix
from featx.training.config import TrainConfig
from featx.training.optim import forget_gradients, take_gradients
from featx.training.replicas import Replicas
from featx.training.world import Portion

AUXILIARY_WEIGHT = 0.3
"""Of each auxiliary head's loss (Szegedy et al., "Going deeper with convolutions", 2015, section 5)."""


class Step:
    """What happens to a batch.

    Parameters
    ----------
    module : nn.Module
        Maps a batch of inputs to logits.
    optimizer : Optimizer
        Of what learns in it.
    labels : Tensor
        Of the training rows, for the class weights.
    replicas : Replicas, optional
        Runs the module where several processes share each batch.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        labels: torch.Tensor,
        n_classes: int,
        config: TrainConfig,
        device: torch.device,
        replicas: Replicas | None = None,
    ) -> None:
        self.replicas = Replicas(module) if replicas is None else replicas
        self.world = self.replicas.world
        self._batch = 0  # of the step
        self.module, self.optimizer, self.config, self.device = module, optimizer, config, device
        self.n_classes = n_classes
        self._weights = balanced(labels, n_classes) if config.class_weight == "balanced" else None
        self._mix = Mix(config, n_classes)
        # bf16 has fp32's range: only fp16 needs its loss scaled.
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self._learns = [p for group in optimizer.param_groups for p in group["params"]]

    def begin(self) -> None:
        """Forget the gradient of the step before."""
        forget_gradients(self.optimizer)
        self._batch = 0

    def gradient(
        self, x: torch.Tensor, y: torch.Tensor, rows: int, portion: Portion | None = None, *, last: bool = True
    ) -> tuple[float, int]:
        """Add a batch's gradient; return its summed loss and how many it got right, over all processes.

        Parameters
        ----------
        x, y : Tensor
            Inputs (m, ...), and class numbers (m,).
        rows : int
            Of the whole step, over which the loss is a mean.
        portion : Portion, optional
            What part of the batch `x` is, of that which several processes share; None is the whole.
        last : bool
            Whether it is the step's last batch.

        Raises
        ------
        FloatingPointError
            The loss is NaN or infinite: nothing was added.
        """
        portion = Portion(np.arange(len(x))) if portion is None else portion
        mixed, target = self._mix(x, y)
        if portion.lead:  # others' images, blended into this process's first
            mixed, target, y = mixed[portion.lead :], target[portion.lead :], y[portion.lead :]
        with self.replicas.computing(portion, self._batch, last=last):
            with arithmetic(self.device, self.config.precision), self.replicas.own_chance(self._batch):
                logits, *auxiliary = logits_of(self.replicas.forward(mixed), self.n_classes)
                loss = self._loss(logits, target)
                for other in auxiliary:
                    loss = loss + AUXILIARY_WEIGHT * self._loss(other, target)
            right = (logits.detach().argmax(1) == y).sum()
            # Both in one transfer from the device, which waits for it.
            value, count = torch.stack([loss.detach().double(), right.double()]).tolist()
            value, count = self.world.total(value / portion.copies, count / portion.copies)
            if not np.isfinite(value):
                raise FloatingPointError(str(value))
            torch.autograd.backward(self.scaler.scale(loss / (rows / self.replicas.share_of(portion))))
        self._batch += 1
        return value, round(count)

    def _loss(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        smoothing = self.config.label_smoothing
        return functional.cross_entropy(
            logits.float(), target, weight=self._weights, label_smoothing=smoothing, reduction="sum"
        )

    def update(self) -> None:
        """Move the weights by the gradient that was added up."""
        take_gradients(self.optimizer)
        if self.config.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._learns, self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()


def balanced(labels: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Return n / (k * count) a class, k being the number of classes that have rows; 0 for the others."""
    counts = torch.bincount(labels, minlength=n_classes).float()
    weights = len(labels) / ((counts > 0).sum() * counts)
    return torch.where(counts > 0, weights, torch.zeros_like(counts))


def set_chance(seed: int, epoch: int, step: int, device: torch.device) -> None:
    """Seed torch's generators for one step: dropout, stochastic depth and mixing depend on nothing before it."""
    step_seed = int(np.random.SeedSequence([seed, epoch, step, 2]).generate_state(1, np.uint64)[0] >> 1)
    reseed(step_seed, device)


@contextlib.contextmanager
def explain_single_image_batch() -> Iterator[None]:
    """Say in words that batch norm met a batch of one image, one value a channel."""
    try:
        yield
    except ValueError as exc:
        if "more than 1 value per channel" not in str(exc):
            raise
        raise OptionError("batch norm cannot normalise a batch of one image", "use a larger --batch-size") from exc


def diverged(said: str, epoch: int, step: int, ids: list[str], lr: float) -> FeatureError:
    """Return the error of a loss that is no number, naming the step and the batch's images."""
    return FeatureError(
        f"the loss is {said} in epoch {epoch}, step {step} (images {first_few(ids)})", f"use a smaller --lr than {lr:g}"
    )


def diverged_after(epoch: int, image: str, lr: float) -> FeatureError:
    """Return the error of a network whose logits are no numbers when it is evaluated."""
    return FeatureError(
        f"after epoch {epoch} the network gives no numbers for image {image}", f"use a smaller --lr than {lr:g}"
    )
