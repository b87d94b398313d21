"""timm's networks as a family, ``timm:NAME`` or ``timm:NAME.TAG``; loads neither timm nor torch by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featx.core.backbone_names import TIMM
from featx.models.facts import Inspection
from featx.models.family import Asked, Blueprint, Family
from featx.models.registered import is_defined, registered_names
from featx.models.timm_names import check_architecture, check_published
from featx.models.weights import PUBLISHED, is_seed

if TYPE_CHECKING:
    from torch import nn

    from featx.models.state_dict import StateDict


class TimmFamily(Family):
    """Networks that timm builds; some are built for one size of image."""

    packages = ("timm",)
    takes_size = True

    def names(self) -> list[str]:
        """See `Family`; without tags."""
        known = registered_names("timm")
        if known:
            return [TIMM + name for name in known]
        from featx.models import timm_models  # heavy

        return timm_models.names()

    def check(self, asked: Asked) -> None:
        """See `Family`; which tags a network has, timm alone tells."""
        super().check(asked)
        if not asked.is_file and not is_seed(asked.weights):
            check_published(asked.name, asked.weights)
        architecture = asked.name.removeprefix(TIMM).partition(".")[0]
        if not is_defined("timm", architecture) and (known := registered_names("timm")):
            check_architecture(architecture, known)

    def inspect(self, asked: Asked) -> Inspection:
        """See `Family`."""
        from featx.models import timm_models  # heavy

        return timm_models.inspect(asked)

    def build(self, plan: Blueprint) -> nn.Module:
        """See `Family`."""
        from featx.models import timm_models  # heavy

        return timm_models.build(plan.name, plan.options)

    def tensors(self, module: nn.Module, plan: Blueprint, weights: str, file: str) -> StateDict:
        """See `Family`: published ones as timm itself would load them, others resampled to the network's size."""
        from featx.models import timm_models  # heavy

        return timm_models.tensors(module, plan, weights, file)

    def recorded_weights(self, module: nn.Module, plan: Blueprint, file: str) -> str:
        """See `Family`: published, unless its names are the network's own, the classifier's aside."""
        head = self.find_head(module)
        names = {key for key in module.state_dict() if not key.startswith(f"{head}.")}
        return file if names <= set(self.tensors(module, plan, file, file)) else PUBLISHED

    def find_head(self, module: nn.Module) -> str:
        """See `Family`."""
        from featx.models import timm_models  # heavy

        return timm_models.find_head(module)
