"""The forward pass: uint8 images in, one float32 row a layer out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from featx.backbones import Backbone
from featx.errors import OptionError, OutOfMemoryError
from featx.graph import NodeInfo, Traced
from featx.images import Pixels
from featx.specs import LayerSpec, PreprocessSpec

Features = npt.NDArray[np.float32]

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


_DEVICES = "use --device cpu or auto; `featx doctor` looks at the installation"


def pick_device(name: str) -> torch.device:
    """Return the device: ``auto`` takes CUDA where it is; a device that is not there is an error.

    Raises
    ------
    OptionError
        For a device that is unknown or absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as exc:
        raise OptionError(
            f"device {str(name)[:40]!r} is unknown, expected auto, cpu, cuda or cuda:N", _DEVICES
        ) from exc
    if device.type not in ("cpu", "cuda"):
        raise OptionError(f"device {name[:40]!r} is not supported, expected auto, cpu, cuda or cuda:N", _DEVICES)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OptionError(
            f"device {name!r} was asked for, and this machine shows {torch.cuda.device_count()} CUDA devices",
            _DEVICES,
        )
    return device


@contextlib.contextmanager
def arithmetic(device: torch.device, precision: str) -> Iterator[None]:
    """Run in one precision: fp32 means fp32 (no TF32, no bf16), bf16 and fp16 mean autocast."""
    backends: Any = torch.backends  # its stubs lack the precisions
    # The CPU's too: `set_float32_matmul_precision("medium")` means bf16.
    switches = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    before = [switch.fp32_precision for switch in switches]
    for switch in switches:
        switch.fp32_precision = "ieee"
    try:
        with torch.autocast(device.type, dtype=_AUTOCAST.get(precision), enabled=precision in _AUTOCAST):
            yield
    finally:
        for switch, precision_before in zip(switches, before, strict=True):
            switch.fp32_precision = precision_before


@contextlib.contextmanager
def memory_errors(what: str) -> Iterator[None]:
    """Turn a failed allocation, the device's or the machine's, into an OutOfMemoryError."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as exc:
        raise _no_memory(what) from exc
    except RuntimeError as exc:
        if "can't allocate memory" not in str(exc):
            raise
        raise _no_memory(what) from exc


def _no_memory(what: str) -> OutOfMemoryError:
    return OutOfMemoryError(f"memory ran out during {what}", "use a smaller --batch-size or --size")


class Normalize(torch.nn.Module):
    """uint8 images (n, H, W, C) to a network's float32 input (n, C, H, W), channels last in memory."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, spec: PreprocessSpec) -> None:
        super().__init__()
        shape = (1, spec.channels, 1, 1)
        self.register_buffer("mean", torch.tensor(spec.mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(shape), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        # The same operations in the same order as torchvision's preset, so that the values are the same.
        x = pixels.permute(0, 3, 1, 2).float().div_(255)
        return x.sub_(self.mean).div_(self.std)


class Network:
    """A backbone ready to be cut: its graph and what each node gives for one image size.

    Parameters
    ----------
    backbone : Backbone
        Built here.
    shape : tuple of int
        (C, H, W) of a prepared image.
    """

    def __init__(self, backbone: Backbone, shape: tuple[int, int, int]) -> None:
        self.backbone = backbone
        self.traced = Traced(backbone.module(), backbone.left_out)
        self.nodes: dict[str, NodeInfo] = self.traced.describe(shape)

    def columns(self, spec: LayerSpec) -> int:
        """Return a row's length; OptionError for a layer that cannot be had."""
        return self.traced.columns(spec, self.nodes)


class Forward:
    """One pass for several layers, stopping after the deepest.

    Parameters
    ----------
    network : Network
        Whose graph is cut.
    specs : sequence of LayerSpec
        Wanted layers, in the order of the result.
    keep : sequence of LayerSpec
        See `Traced.cut`.
    device : torch.device
        Where it runs.
    precision : str
        ``fp32``, ``bf16`` or ``fp16``.
    """

    def __init__(
        self,
        network: Network,
        specs: Sequence[LayerSpec],
        keep: Sequence[LayerSpec],
        device: torch.device,
        precision: str,
    ) -> None:
        self.device = device
        self.precision = precision
        self._normalize = Normalize(network.backbone.preprocess).to(device)
        module: Any = network.traced.cut(specs, network.nodes, keep)
        self._module = module.to(device, memory_format=torch.channels_last)

    def __call__(self, pixels: Pixels) -> list[Features]:
        """Return one (n, columns) array a layer for images of shape (n, H, W, C)."""
        with (
            memory_errors("the forward pass"),
            torch.inference_mode(),
            arithmetic(self.device, self.precision),
        ):
            x = self._normalize(torch.from_numpy(pixels).to(self.device))
            return [rows.cpu().numpy() for rows in self._module(x)]
