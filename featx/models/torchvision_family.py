"""torchvision's classifiers as a family, by their plain names; loads neither torchvision nor torch by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featx.models.facts import Inspection
from featx.models.family import Asked, Blueprint, Family
from featx.models.registered import registered_names, weights_of
from featx.models.weights import check_published, is_seed

if TYPE_CHECKING:
    from torch import nn

_RESNETS = ("resnet", "resnext", "wide_resnet")


class TorchvisionFamily(Family):
    """Networks that torchvision builds."""

    is_always_traced = True

    def names(self) -> list[str]:
        """See `Family`."""
        known = list(registered_names("torchvision"))
        if known:
            return known
        from featx.models import torchvision_models  # heavy

        return torchvision_models.names()

    def check(self, asked: Asked) -> None:
        """See `Family`: a file, or one of the names that torchvision gives its weights."""
        super().check(asked)
        kind, known = weights_of("torchvision", asked.name)
        if known and not asked.is_file and not is_seed(asked.weights):
            check_published(asked.name, asked.weights, kind, known)

    def takes_stem(self, name: str) -> bool:
        """See `Family`: ResNets do."""
        return name.startswith(_RESNETS)

    def inspect(self, asked: Asked) -> Inspection:
        """See `Family`."""
        from featx.models import torchvision_models  # heavy

        return torchvision_models.inspect(asked)

    def build(self, plan: Blueprint) -> nn.Module:
        """See `Family`."""
        from featx.models import torchvision_models  # heavy

        return torchvision_models.build(plan.name, plan.options)

    def find_head(self, module: nn.Module) -> str:
        """See `Family`."""
        from featx.models import parts  # heavy

        return parts.find_head(module)
