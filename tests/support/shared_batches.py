"""What several processes compute together in tests, and one alone for comparison."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawn import CPU, parts, some_digits
from torch import nn
from torch.nn import functional

from featx.core.run_folder import Run
from featx.data.arrays import ArraySource
from featx.errors import FeatxError, ImageError
from featx.models.backbones import resolve
from featx.training.checkpoints import Checkpoints
from featx.training.config import TrainConfig
from featx.training.optim import groups_of, make_optimizer
from featx.training.replicas import Replicas
from featx.training.signals import SIGNALS
from featx.training.step import Step, set_chance
from featx.training.train import train
from featx.training.world import World, joined

K = 3


class NormAct(nn.BatchNorm2d):
    """A batch norm with an activation of its own, as timm's."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight, self.bias
        mean, var = self.running_mean, self.running_var
        return functional.relu(functional.batch_norm(input, mean, var, weight, bias, self.training, 0.1, self.eps))


NETWORKS: dict[str, Any] = {
    "plain": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(100, K)
    ),
    "normed": lambda: nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2), NormAct(8), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Flatten()),
        *(nn.Linear(100, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, K)),
    ),
}


def step_of(name: str, sizes: tuple[int, ...], options: dict[str, Any]) -> dict[str, Any]:
    """Return a step's gradients, its sums and the network's buffers after batches of some sizes, one step of all."""
    with joined() as world:
        return _step_of(world, name, sizes, TrainConfig(**options))


def _step_of(world: World, name: str, sizes: tuple[int, ...], config: TrainConfig) -> dict[str, Any]:
    torch.manual_seed(world.rank)  # weights of process 0 count
    if world.first:
        torch.manual_seed(0)
    module = NETWORKS[name]().train()
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.normal(3, 1, (sum(sizes), 3, 16, 16)).astype(np.float32))
    y = torch.from_numpy(np.arange(sum(sizes)) ** 2 % K)
    optimizer = make_optimizer(groups_of(module, module[-1], config), config)
    replicas = Replicas(module, world, CPU, sync_batch_norm=config.sync_batch_norm)
    step = Step(module, optimizer, y, K, config, CPU, replicas)
    set_chance(0, 1, 0, CPU)
    step.begin()
    sums, ends = [0.0, 0], np.cumsum(sizes)
    with replicas.synchronized():
        for i, (end, size) in enumerate(zip(ends, sizes, strict=True)):
            portion = world.portion(np.arange(end - size, end), blends=config.blends)
            loss, right = step.gradient(x[portion.rows], y[portion.rows], sum(sizes), portion, last=i + 1 == len(sizes))
            sums = [sums[0] + loss, sums[1] + right]
        gradients = {n: p.grad.numpy().copy() for n, p in module.named_parameters() if p.grad is not None}
        module.eval()  # nothing is exchanged: process 0 alone looks
        seen = module(x).detach().numpy() if world.first else None
    assert all(type(m) in (nn.BatchNorm1d, nn.BatchNorm2d, NormAct) for m in module.modules() if hasattr(m, "momentum"))
    return {"gradients": gradients, "sums": sums, "buffers": [b.numpy().copy() for b in module.buffers()], "seen": seen}


def exchanged() -> dict[str, Any]:
    """Return what the processes tell each other."""
    with joined() as world:
        tensors = {"x": torch.arange(6).view(2, 3).half(), "none": torch.empty(0, 4)} if world.first else {}
        values = np.full(3, world.rank + 1, np.uint8)
        world.add(values)
        return {
            "share": world.share({"a": 0.1 + 0.2} if world.first else None),
            "gather": world.gather(world.rank),
            "tensors": {n: t.numpy() for n, t in world.share_tensors(tensors).items()},
            "added": values.tolist(),
            "total": world.total(world.rank, 0.5),
        }


def chances() -> tuple[float, float, float]:
    """Return what is drawn before, within and after a process's own chance."""
    with joined() as world:
        replicas = Replicas(nn.Linear(1, 1), world, CPU)
        set_chance(0, 1, 0, CPU)
        before = float(torch.rand(()))
        with replicas.own_chance(0):
            own = float(torch.rand(world.rank + 1)[0])
        return before, own, float(torch.rand(()))


TRAININGS: dict[str, dict[str, Any]] = {
    "augmented": {"mode": "scratch", "augment": "crop-flip", "lr": 0.05, "schedule": "plateau", "warmup_epochs": 1},
    "one of three batches": {"mode": "scratch", "augment": "trivial", "patience": 1, "mixup": 0.3, "accumulate": 2},
    "cached": {"mode": "frozen", "lr": 0.05},
    "frozen": {"mode": "frozen", "augment": "crop", "optimizer": "adamw"},
}


def trained(name: str, folder: Path | None = None, source: Any = None, **more: Any) -> dict[str, Any]:
    """Train LeNet on digits, or on what `source` gives, and return what came out."""
    told: list[Any] = []
    digits = some_digits(131, classes=(0, 1, 2)) if source is None else source()
    config = TrainConfig(**{**TRAININGS[name], "epochs": 3, "batch_size": 16, "device": "cpu", **more})
    checkpoints = None if folder is None else Checkpoints(Run(folder), {}, 0.0)
    backbone = resolve("lenet5", weights="random:0", channels=digits.images.shape[3])
    try:
        result = train(parts(digits, 85, 20), backbone, config, on_epoch=told.append, checkpoints=checkpoints)
    except FeatxError as exc:
        return {"error": exc.message}
    return {
        "history": [
            {n: v for n, v in line.items() if "seconds" not in n and "per" not in n} for line in result.history
        ],
        "weights": {n: t.numpy() for n, t in result.module.state_dict().items()},
        "accuracy": {part: scores.accuracy for part, scores in result.scores.items()},
        "loss": {part: scores.loss for part, scores in result.scores.items()},
        "told": len(told),
        "processes": result.processes,
        "skipped": result.skipped,
        "cached": result.cached,
        "resumed": result.resumed_from,
    }


class Broken(ArraySource):
    """Digits of which two cannot be read."""

    def __getitem__(self, i: int) -> Any:
        if self.ids[i] in ("000003", "000040"):
            raise ImageError(f"image {self.ids[i]} is broken")
        return super().__getitem__(i)


def broken_digits() -> ArraySource:
    """Return as many digits as `trained` takes, rows 3 and 40 broken."""
    whole = some_digits(131, classes=(0, 1, 2))
    return Broken(whole.images, whole.labels, classes=whole.classes)


def trained_on_broken(name: str) -> dict[str, Any]:
    """Train where two images cannot be read."""
    return trained(name, None, broken_digits, on_error="skip")


def trained_in_batches_of_three() -> dict[str, Any]:
    """Train in batches that two processes cannot share."""
    return trained("augmented", batch_size=3)


def stopped(folder: Path) -> dict[str, Any]:
    """Have the last process alone told to stop in the second epoch, and return how all of them end."""
    with joined() as world:
        rank, size = world.rank, world.size
    update, steps = Step.update, [0]

    def interrupted(self: Step) -> None:
        update(self)
        steps[0] += 1
        if steps[0] == 8 and rank == size - 1:
            os.kill(os.getpid(), SIGNALS[0])

    Step.update = interrupted  # type: ignore[method-assign]
    signal.signal(SIGNALS[0], signal.default_int_handler)
    try:
        return trained("augmented", folder)
    except KeyboardInterrupt:
        return {"interrupted": steps[0]}
    finally:
        Step.update = update  # type: ignore[method-assign]
