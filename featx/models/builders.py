"""Networks built: drawn from a seed or with the tensors of a file; their classifier and default layer. Loads torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from featx.core.backbone_names import DRAWN, is_factory, is_timm
from featx.core.rng import isolated_rng
from featx.errors import OptionError, first_few
from featx.graph.fold_batch_norm import batch_bound
from featx.graph.readable import Readable
from featx.graph.shapes import Nodes
from featx.models import factories, timm_models, torchvision_models
from featx.models.factories import Factory
from featx.models.facts import NetworkFacts
from featx.models.own_head import find_own_head
from featx.models.state_dict import StateDict, load_into, read_state
from featx.models.weights import PUBLISHED


def build(facts: NetworkFacts) -> nn.Module:
    """Build a network that was inspected before, with its weights.

    Raises
    ------
    OptionError, WeightsError
        Where a file is no longer what it was.
    """
    own = factories.parse(facts.origin) if facts.origin else None
    module = init_random(facts.name, facts.weights, facts.options, own, facts.code)
    if facts.file is not None:
        state = state_for(module, facts.name, facts.weights, facts.file, facts.options)
        load_into(module, state, facts.head, facts.weights)
    return module


def init_random(
    name: str, weights: str, options: dict[str, Any], own: Factory | None = None, code: str | None = None
) -> nn.Module:
    """Build a network with weights drawn from its seed; those of a file come later."""
    with isolated_rng(int(weights.removeprefix(DRAWN)) if weights.startswith(DRAWN) else 0):
        if own is not None:
            return factories.make(own, code or "")
        return timm_models.build(name, options) if is_timm(name) else torchvision_models.build(name, options)


def state_for(module: nn.Module, name: str, weights: str, file: str, options: dict[str, Any]) -> StateDict:
    """Read a file's tensors; timm's published ones as timm itself would load them, others resampled to its size."""
    state = read_state(Path(file), lambda: set(module.state_dict()))
    if is_timm(name) and weights == PUBLISHED:
        return timm_models.fitted(name, state, module.state_dict(), options)
    return timm_models.resampled(state, module) if is_timm(name) and options else state


def find_head(name: str, module: nn.Module) -> str:
    """Return the dotted name of a network's classifier; empty where there is none that could be told."""
    if is_timm(name):
        return timm_models.find_head(module)
    if not is_factory(name):
        return torchvision_models.find_head(module)
    return find_own_head(module)


def default_layer(module: nn.Module, head: str, network: Readable, nodes: Nodes) -> str | None:
    """Return the layer that most users want, what the classifier sees; None where there is none, or not at that size.

    Parameters
    ----------
    module : nn.Module
        The network.
    head : str
        `Backbone.head`.
    network, nodes : Readable, Nodes
        The module's.
    """
    named = [head] if head else timm_models.classifiers(module)
    try:
        return str(network.default(named[0], nodes)) if named else None
    except OptionError:
        return None


def batch_notes(module: nn.Module) -> list[str]:
    """Return what is to be said of a network whose features depend on which images are in a batch."""
    bound = batch_bound(module)
    said = "features of an image depend on the others of its batch: BatchNorm without running statistics, at "
    return [said + first_few(bound)] if bound else []
