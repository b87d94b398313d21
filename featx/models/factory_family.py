"""Users' own networks as a family, ``file.py:factory`` or ``package.module:factory``; loads no torch by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from featx.errors import OptionError
from featx.models import factories
from featx.models.factories import Factory
from featx.models.facts import Inspection, stamps_of
from featx.models.family import Asked, Blueprint, Family
from featx.models.preprocessing import plain_preset
from featx.models.source_hash import code_of
from featx.models.weights import PUBLISHED, existing, is_seed

if TYPE_CHECKING:
    from torch import nn

OWN_PX = 224
"""Size of the images that a user's own network takes where none is given."""


class FactoryFamily(Family):
    """Networks that a function of the user's returns; its code is hashed beside the weights."""

    is_users_code = True

    def can_remember(self, weights: str) -> bool:
        """See `Family`: what a factory loads from elsewhere has no stamp, and is looked at each time."""
        return weights != PUBLISHED

    def check(self, asked: Asked) -> None:
        """See `Family`; a package module is looked for later, as that runs the package."""
        own = factories.parse(asked.name)
        factories.check_file(own)
        _locate(own, asked)

    def inspect(self, asked: Asked) -> Inspection:
        """See `Family`; raises as `featx.models.factories.make` too."""
        from featx.models.assembly import draw, facts_with, read_tensors  # heavy

        own = factories.parse(asked.name)
        file = _locate(own, asked)
        sources = factories.sources(own)
        stamps, code = stamps_of([file, *sources.values()]), code_of(sources)
        plan = Blueprint(own.label, {}, own.origin, code)
        module = draw(asked.weights, lambda: self.build(plan))
        state = None if file is None else read_tensors(module, file)
        facts = facts_with(state, module, own.label, asked.weights, {}, self.find_head(module))
        channels, said = _looked_into(own.label, module)
        known = replace(facts, preprocess=plain_preset(OWN_PX, channels), notes=(*said, *facts.notes))
        return Inspection(replace(known, file=file, code=code, origin=own.origin), stamps)

    def build(self, plan: Blueprint) -> nn.Module:
        """See `Family`."""
        return factories.make(factories.parse(plan.origin), plan.code or "")


def _locate(own: Factory, asked: Asked) -> str | None:
    if asked.weights == PUBLISHED or is_seed(asked.weights):
        return None
    if not asked.is_file:
        raise OptionError(
            f"{own.label} has no published weights {asked.weights[:80]!r}, expected {PUBLISHED}, random:SEED or a file",
            f"{PUBLISHED} takes the network as the factory returns it",
        )
    return existing(asked.weights)


def _looked_into(label: str, module: nn.Module) -> tuple[int, list[str]]:
    """Return how many channels a user's own network takes, and what is to be said of how it is read."""
    from featx.graph.hooked import read_network  # heavy
    from featx.models.channels import input_channels

    try:
        network = read_network(module.eval())
    except OptionError:  # said where features are wanted
        return 3, []
    channels = input_channels(module, network, OWN_PX)
    said = {
        1: [f"{label} takes 1 channel: images are made grey, as Pillow's mode L is"],
        3: [],
    }.get(channels, [f"{label} takes {channels} channels, of which no statistics are known: values stay 0 to 1"])
    return channels, [*([network.note] if network.note else []), *said]
