"""torchvision's classifiers without their weights: what is traced of them is the same, in a fraction of the time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode

from featx.core.specs import LayerSpec
from featx.graph.traced import Traced
from featx.models.torchvision_models import builder_options


class _NoWeights(TorchFunctionMode):
    """Memory that a layer would draw its weights into is not had; the arithmetic of RegNet's builder still runs."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty:
            options["device"] = "meta"
        return func(*args, **options)


def classifiers() -> list[str]:
    """Return the names of torchvision's classifiers."""
    return list(torchvision.models.list_models(module=torchvision.models))


def without_weights(name: str) -> nn.Module:
    """Return one of torchvision's classifiers in eval mode, its weights on the meta device."""
    options = builder_options(name, loaded=True, published=False, auxiliary=False)
    with _NoWeights():
        network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return network.eval()


def names_that_do_not_come_back(name: str) -> list[str]:
    """Return the nodes of a classifier that a layer's text does not lead back to."""
    traced = Traced(without_weights(name))
    return [node for node in traced.names() if not _comes_back(node, traced)]


def _comes_back(node: str, traced: Traced) -> bool:
    spec = LayerSpec.parse(str(LayerSpec(node, "avg")))
    same = spec == LayerSpec(node, "avg") and LayerSpec.parse(node).node == node
    return same and not spec.is_pattern and spec.matches(node) and traced.node(spec.node) is traced.node(node)
