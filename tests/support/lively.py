"""Networks whose batch norms do something, and a featx pass compared with the plain network's own activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from featx.core.specs import LayerSpec
from featx.errors import OptionError
from featx.extraction.forward import Forward, Normalize
from featx.graph.shapes import Nodes
from featx.graph.traced import Traced
from featx.models import timm_models
from featx.models.backbones import resolve
from featx.models.builders import default_layer


def lively(module: nn.Module) -> nn.Module:
    """Give each batch norm statistics that are not the identity's; eval mode, without gradients."""
    torch.manual_seed(1)
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.3)
            norm.running_mean.normal_(std=0.3)  # type: ignore[union-attr, operator]
            norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    return module.eval().requires_grad_(False)


@dataclass
class AtHand:
    """As much of `featx.extraction.forward.Network` as a pass needs, around a network that is there already."""

    backbone: Any
    traced: Traced
    nodes: Nodes


@dataclass
class Comparison:
    """A default layer's rows through featx, and by a plain hook on the classifier's input."""

    layer: str
    columns: int
    difference: float


def compare_default_layer(name: str, n_images: int = 2, size: int | None = None) -> Comparison:
    """Extract the default layer of a network with random weights, and compare it with what its classifier is given.

    Parameters
    ----------
    name : str
        The backbone's.
    n_images : int
        Noise, of the network's own size unless `size` says another.
    """
    backbone = resolve(name, weights="random:0", size=size)
    module, px = lively(backbone.module()), backbone.preprocess.crop
    traced = Traced(module)
    nodes = traced.describe((3, px, px))  # type: ignore[arg-type]
    layer = default_layer(module, backbone.head, traced, nodes)
    if layer is None:
        raise OptionError(f"{name} has no default layer")
    spec = LayerSpec.parse(layer)
    pixels = np.random.default_rng(5).integers(0, 256, (n_images, px, px, 3), np.uint8)
    forward = Forward(AtHand(backbone, traced, nodes), [spec], (), torch.device("cpu"), "fp32")  # type: ignore[arg-type]
    found = torch.from_numpy(forward(pixels).rows()[0])
    seen: list[torch.Tensor] = []
    head = backbone.head or timm_models.classifiers(module)[0]
    module.get_submodule(head).register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    with torch.inference_mode():
        module(Normalize(backbone.preprocess)(torch.from_numpy(pixels)).contiguous())
    wanted = seen[0].flatten(2).mean(2) if spec.pool == "avg" else seen[0].flatten(1)
    assert found.shape == wanted.shape
    assert len(found[0].unique()) > len(found[0]) // 100, "features that say nothing"
    assert traced.columns(spec, nodes) == found.shape[1]
    return Comparison(layer, found.shape[1], float((found - wanted).abs().max() / wanted.abs().max()))
