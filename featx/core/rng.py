"""Torch's own random numbers, seeded for as long as a block lasts and given back as they were."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

LOCK = threading.RLock()
"""Generators and precision switches belong to the whole process: threads that set them take turns."""

CPU = torch.device("cpu")


@contextlib.contextmanager
def isolated_rng(seed: int | None = None, device: torch.device = CPU) -> Iterator[None]:
    """Leave the caller's random numbers alone within the block, which begins at `seed`, where one is given."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with LOCK, torch.random.fork_rng(devices=devices):
        if seed is not None:
            reseed(seed, device)
        yield


def reseed(seed: int, device: torch.device = CPU) -> None:
    """Seed the CPU's generator and the device's; `torch.manual_seed` would seed all GPUs."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
