"""The forward pass: uint8 images in, one float32 row a layer out."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from featx.core.device import arithmetic, memory_errors
from featx.core.specs import LayerSpec, PreprocessSpec
from featx.data.batch_loader import Shape
from featx.data.decoding import Pixels, view_sizes
from featx.errors import FeatxWarning, OptionError, OutOfMemoryError, spoken
from featx.extraction.staging import Pending, Staging
from featx.graph.hooked import read_network
from featx.graph.packed_conv import can_pack
from featx.graph.placing import placed
from featx.graph.shapes import Nodes
from featx.graph.traced import Traced
from featx.models.backbones import Backbone
from featx.models.parts import channels_last

Features = npt.NDArray[np.float32]


@dataclass
class BatchSizeBackoff:
    """How many images go through the network at once; learnt the first time that memory runs out.

    Parameters
    ----------
    images : int or None
        As many as a batch has, where None.
    notes : list of str
        What was said about it.
    """

    images: int | None = None
    notes: list[str] = field(default_factory=list)

    def halve(self, tried: int) -> None:
        """Take half of what was too much, and free what the failed pass held, on the device too."""
        self.images = (tried + 1) // 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def tell(self, tried: int) -> None:
        """Warn of what was too much, once it is known what is not."""
        said = f"out of memory with {tried} images in a forward pass, continuing with {self.images}"
        self.notes.append(spoken(f"{said}; --batch-size {self.images} avoids this"))
        warnings.warn(self.notes[-1], FeatxWarning, stacklevel=3)


class Normalize(torch.nn.Module):
    """Turn uint8 images (n, H, W, C) into a network's float32 input (n, C, H, W), channels last in memory."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, spec: PreprocessSpec) -> None:
        super().__init__()
        shape = (1, spec.channels, 1, 1)
        self.register_buffer("mean", torch.tensor(spec.mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(shape), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return pixels, uint8 (n, H, W, C), as the network takes them: float32 (n, C, H, W)."""
        # The same operations in the same order as torchvision's preset, so that the values are the same.
        x = pixels.permute(0, 3, 1, 2).float().div_(255)
        return x.sub_(self.mean).div_(self.std)


class Network:
    """A backbone ready to be cut: its graph, or its modules, and what each node gives for one image size.

    Parameters
    ----------
    backbone : Backbone
        Built here.
    shape : tuple of int
        (C, H, W) of a prepared image.
    """

    def __init__(self, backbone: Backbone, shape: Shape) -> None:
        self.backbone, self.shape = backbone, shape
        self.traced = read_network(backbone.module(), backbone.left_out)
        self.nodes = self.traced.describe(shape, whole=False)
        spec, size = backbone.preprocess, (shape[1], shape[2])
        sizes = [at for at in dict.fromkeys(view_sizes(spec, size)) if at != size]
        self._others: list[tuple[int, Nodes]] = [(px, self._describe(px)) for px, _ in sizes]

    def _describe(self, px: int) -> Nodes:
        try:
            return self.traced.describe((self.backbone.preprocess.channels, px, px), whole=False)
        except OptionError as exc:
            raise OptionError(exc.message, "leave --scales out, or give others") from exc

    def columns(self, spec: LayerSpec) -> int:
        """Return a row's length; OptionError for a layer that cannot be had, or whose rows differ between scales."""
        columns = self.traced.columns(spec, self.nodes)
        for px, nodes in self._others:
            if (other := self.traced.columns(spec, nodes)) != columns:
                raise OptionError(
                    f"layer {spec} gives {columns} and, at {px} px, {other} values, and --scales needs as many at each",
                    f"use {spec.node}:avg, or leave --scales out",
                )
        return columns


class Forward:
    """One pass for several layers, stopping after the deepest.

    Parameters
    ----------
    network : Network
        Whose graph is cut.
    specs : sequence of LayerSpec
        Wanted layers, in the order of the result.
    keep : sequence of LayerSpec
        See `Readable.cut`.
    device : torch.device
        Where it runs.
    precision : str
        ``fp32``, ``bf16`` or ``fp16``.
    room : BatchSizeBackoff, optional
        What is known about the memory.
    fused : bool
        Rewrite the network with fused operators, where the device and the precision have them (`featx.graph.fused`).
    """

    def __init__(
        self,
        network: Network,
        specs: Sequence[LayerSpec],
        keep: Sequence[LayerSpec],
        device: torch.device,
        precision: str,
        room: BatchSizeBackoff | None = None,
        *,
        fused: bool = True,
    ) -> None:
        self.device = device
        self._staging = Staging(device)
        self.ahead = self._staging.ahead
        self.room = room or BatchSizeBackoff()
        self._flip = network.backbone.preprocess.views.flip
        self.precision = precision
        self._normalize = Normalize(network.backbone.preprocess).to(device)
        fused = fused and device.type == "cpu" and can_pack(precision)
        self.shares_nothing = fused and isinstance(network.traced, Traced)
        """Whether passes may run side by side: hooks, as networks without a graph have, would mix them up."""
        self.takes_turns = True
        """Whether a pass waits for threads that draw random numbers, as a network's own code might."""
        module: Any = network.traced.cut(specs, network.nodes, keep, precision if fused else None)
        self._module = channels_last(placed(module, device))

    def __call__(self, *views: Pixels) -> Pending:
        """Begin a pass; of its rows, one (n, columns) array per layer, the mean over the views and mirror images.

        Parameters
        ----------
        *views : ndarray of uint8, shape (n, H, W, C)
            The same images; H and W may differ from view to view.

        Raises
        ------
        OutOfMemoryError
            Even one image is too much.

        Warns
        -----
        FeatxWarning
            Memory ran out, and the images go through the network in smaller parts from here on.
        """
        parts: list[Pending] = []
        at, n, failed = 0, len(views[0]), 0
        while at < n:
            part = [pixels[at : at + (self.room.images or n)] for pixels in views]
            rows = self._try(part)
            # Outside of the handler: until its end the exception holds all that the failed pass held.
            if rows is None:
                self._staging.release()
                self.room.halve(len(part[0]))
                failed = max(failed, len(part[0]))
                continue
            if failed:
                self.room.tell(failed)
                failed = 0
            parts.append(rows)
            at += len(part[0])
        if len(parts) == 1:
            return parts[0]
        return Pending(lambda: [np.concatenate(r) for r in zip(*(part.rows() for part in parts), strict=True)])

    def _try(self, views: Sequence[Pixels]) -> Pending | None:
        """Return the rows; None where memory runs out and there are fewer images to try with."""
        try:
            with (
                memory_errors("the forward pass"),
                torch.inference_mode(),
                arithmetic(self.device, self.precision, alone=self.takes_turns),
            ):
                return self._mean(views)
        except OutOfMemoryError as exc:
            if len(views[0]) > 1:
                return None
            raise OutOfMemoryError("out of memory in the forward pass of one image", "use a smaller --size") from exc

    def _mean(self, views: Sequence[Pixels]) -> Pending:
        totals: list[torch.Tensor] = []
        with self._staging.sent(views) as sent:
            for x in (x for pixels in sent for x in ((pixels, pixels.flip(2)) if self._flip else (pixels,))):
                rows = self._module(self._normalize(x))
                # float32: so few terms lose nothing that the network itself did not.
                totals = [total.add_(more) for total, more in zip(totals, rows, strict=True)] if totals else list(rows)
        count = len(views) * (1 + self._flip)
        return self._staging.fetch([total.div_(count) if count > 1 else total for total in totals])
