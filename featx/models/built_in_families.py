"""The networks that featx defines itself: LeNet-5, and the identity that gives an image's pixels. Loads no torch."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from featx.core.backbone_names import PIXELS
from featx.core.specs import PreprocessSpec
from featx.errors import OptionError
from featx.models.facts import Inspection, NetworkFacts, stamps_of
from featx.models.family import Asked, Blueprint, Family
from featx.models.preprocessing import plain_preset
from featx.models.weights import existing, is_seed

if TYPE_CHECKING:
    from torch import nn

LENET5_PX = 32


class PixelsFamily(Family):
    """``pixels``: the images themselves, of any number of channels."""

    is_always_traced = True

    def check(self, asked: Asked) -> None:
        """See `Family`: there are no weights to look for."""

    def inspect(self, asked: Asked) -> Inspection:
        """See `Family`: nothing is built."""
        channels = asked.channels
        plain = PreprocessSpec(None, None, channels, mean=(0.0,) * channels, std=(1.0,) * channels)
        return Inspection(NetworkFacts(PIXELS, "none", hashlib.sha256(b"").hexdigest(), plain), {})

    def build(self, plan: Blueprint) -> nn.Module:
        """See `Family`."""
        from featx.models.built_in_networks import Pixels  # heavy

        return Pixels(**plan.options)

    def channels(self, source: int | None) -> int:
        """See `Family`."""
        return source or 3

    def can_remember(self, weights: str) -> bool:
        """See `Family`: there is nothing to find out."""
        return False

    def find_head(self, module: nn.Module) -> str:
        """See `Family`."""
        return ""


class LeNet5Family(Family):
    """``lenet5``, for grey images or colours."""

    is_always_traced = True

    def check(self, asked: Asked) -> None:
        """See `Family`; none are published."""
        self._locate(asked)

    def inspect(self, asked: Asked) -> Inspection:
        """See `Family`; a file tells how many channels it takes."""
        from featx.models.assembly import draw, facts_with  # heavy
        from featx.models.built_in_networks import read_lenet5

        file = self._locate(asked)
        stamps = stamps_of([file])
        state = None if file is None else read_lenet5(file)
        first = None if state is None else state.get("conv1.weight")
        channels = asked.channels if first is None or first.ndim != 4 else int(first.shape[1])
        plan = Blueprint(asked.name, {"channels": channels})
        module = draw(asked.weights, lambda: self.build(plan))
        facts = facts_with(state, module, asked.name, asked.weights, plan.options, self.find_head(module))
        return Inspection(replace(facts, preprocess=plain_preset(LENET5_PX, channels), file=file), stamps)

    def build(self, plan: Blueprint) -> nn.Module:
        """See `Family`."""
        from featx.models.built_in_networks import LeNet5  # heavy

        return LeNet5(**plan.options)

    def channels(self, source: int | None) -> int:
        """See `Family`."""
        return 1 if source == 1 else 3

    def find_head(self, module: nn.Module) -> str:
        """See `Family`."""
        return "fc3"

    @staticmethod
    def _locate(asked: Asked) -> str | None:
        if is_seed(asked.weights):
            return None
        if not asked.is_file:
            raise OptionError(
                f"lenet5 has no published weights {asked.weights[:80]!r}, expected random:SEED or a file",
                "use --weights random:0",
            )
        return existing(asked.weights)
