"""How quick a network is: its forward pass alone, timed by batch size and precision."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from featx.core.concatenation import Feature, parts_of
from featx.core.specs import Progress, no_progress
from featx.errors import OptionError, OutOfMemoryError
from featx.extraction.benchmark_config import BenchConfig
from featx.models.backbones import Backbone

if TYPE_CHECKING:
    import torch
    from torch import nn

WARM_UP, LEAST = 2, 5
"""Passes that are not timed, and the fewest that are."""

Repeated = Callable[[], None]


@dataclass(frozen=True)
class Timing:
    """How quick one batch size and precision is; without numbers where memory ran out.

    Parameters
    ----------
    batch_size, precision : int, str
        What was timed.
    ms_per_image, images_per_second : float or None
        From the median pass.
    passes : int
        How many were timed.
    """

    batch_size: int
    precision: str
    ms_per_image: float | None
    images_per_second: float | None
    passes: int


def bench(
    backbone: Backbone,
    layer: Feature | None = None,
    config: BenchConfig | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Time a network's forward pass on noise; images are neither decoded nor normalised.

    Parameters
    ----------
    backbone : Backbone
        With a size: of a training run, the whole network with its head.
    layer : LayerSpec or Concatenation, optional
        Stop after it, as an extraction does.
    config : BenchConfig
        Batch sizes, precisions, seconds and device.

    Returns
    -------
    dict
        ``device``, ``processor``, ``threads``, ``shape`` (C, H, W), ``parameters`` (``total`` of what runs), ``bytes``
        of weights and buffers in float32, ``macs`` (multiply-adds an image), ``timings``.

    Raises
    ------
    OptionError
        For a device that is not there, and a size that the network cannot take or that is not known.
    """
    import torch

    from featx.core.device import pick_device, processor_name
    from featx.graph.placing import placed
    from featx.models.parts import channels_last

    config = config or BenchConfig()
    px, channels = backbone.preprocess.crop, backbone.preprocess.channels
    if px is None:
        raise OptionError(f"{backbone.name} takes images of any size", "say which with --size, such as --size 32")
    device = pick_device(config.device)
    module, macs = _network(backbone, layer, (channels, px, px))
    tensors = [*module.parameters(), *module.buffers()]
    facts = {
        "device": str(device),
        "processor": processor_name(device),
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "shape": [channels, px, px],
        "parameters": {"total": sum(p.numel() for p in module.parameters())},
        "bytes": sum(t.numel() * t.element_size() for t in tensors),
        "macs": macs,
    }
    module = channels_last(placed(module, device))
    todo = [(precision, size) for precision in config.precisions for size in config.batch_sizes]
    timings = []
    for done, (precision, size) in enumerate(todo):
        progress(f"{precision}, batch of {size}", done, len(todo))
        timings.append(time_passes(module, torch.Size((size, channels, px, px)), device, precision, config.seconds))
    progress("bench", len(todo), len(todo))
    return {**facts, "timings": [asdict(timing) for timing in timings]}


def _network(backbone: Backbone, layer: Feature | None, shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Return what is timed, and its multiply-adds an image."""
    from featx.graph.hooked import read_network

    if layer is not None:
        traced = read_network(backbone.module(), backbone.left_out)
        nodes = traced.describe(shape, whole=False)
        parts = parts_of(layer)
        for part in parts:
            traced.columns(part, nodes)
        return traced.cut(parts, nodes), max(nodes[part.node].macs for part in parts)
    whole = backbone.module() if backbone.held is None else backbone.rebuilt().whole
    return whole, max(node.macs for node in read_network(whole).describe(shape).values())


def time_passes(module: nn.Module, shape: torch.Size, device: torch.device, precision: str, seconds: float) -> Timing:
    """Time a network's forward pass on batches of noise.

    Parameters
    ----------
    module : nn.Module
        In eval mode, on the device.
    shape : torch.Size
        (m, C, H, W).
    seconds : float
        So long, warm-up apart, and `LEAST` passes at least.
    """
    import torch

    from featx.core.device import arithmetic, memory_errors

    generator = torch.Generator().manual_seed(0)

    def once() -> None:
        module(x)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    try:
        with memory_errors("the forward pass"), torch.inference_mode(), arithmetic(device, precision):
            x = torch.randn(shape, generator=generator).to(device, memory_format=torch.channels_last)
            for _ in range(WARM_UP):
                once()
            spent = list(_passes(once, seconds))
    except OutOfMemoryError:
        return Timing(shape[0], precision, None, None, 0)
    middle = statistics.median(spent)
    return Timing(shape[0], precision, 1e3 * middle / shape[0], shape[0] / middle, len(spent))


def _passes(once: Repeated, seconds: float) -> Iterator[float]:
    """Give the seconds of each pass until the time is used up, of a few at least."""
    until, count = time.perf_counter() + seconds, 0
    while count < LEAST or time.perf_counter() < until:
        began = time.perf_counter()
        once()
        yield time.perf_counter() - began
        count += 1
