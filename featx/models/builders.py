"""Networks that were inspected, built anew, and the layer that most users want of one. Loads torch."""

from __future__ import annotations

from torch import nn

from featx.errors import OptionError
from featx.graph.readable import Readable
from featx.graph.shapes import Nodes
from featx.models import timm_models
from featx.models.assembly import draw
from featx.models.facts import NetworkFacts
from featx.models.families import family_of
from featx.models.family import Blueprint
from featx.models.state_dict import load_into


def build(facts: NetworkFacts) -> nn.Module:
    """Build a network that was inspected before, with its weights.

    Raises
    ------
    OptionError, WeightsError
        Where a file is no longer what it was.
    """
    family = family_of(facts.name)
    plan = Blueprint(facts.name, facts.options, facts.origin, facts.code)
    module = draw(facts.weights, lambda: family.build(plan))
    if facts.file is not None:
        state = family.tensors(module, plan, facts.weights, facts.file)
        load_into(module, state, facts.head, facts.weights)
    return module


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
