"""What is no network of timm's, or no weights of one, and how that is said. Loads no timm."""

from __future__ import annotations

from collections.abc import Sequence

from featx.core.backbone_names import TIMM
from featx.errors import OptionError, suggest
from featx.models.weights import PUBLISHED


def check_architecture(architecture: str, known: Sequence[str]) -> None:
    """Raise OptionError, with the nearest names, for a network, its tag aside, that is none of `known`."""
    if architecture not in known:
        hint = suggest(architecture, known).replace("mean ", f"mean {TIMM}") or "`featx layers timm:resnet18`"
        raise OptionError(f"timm has no network {architecture[:80]!r}, expected one of {len(known)} names", hint)


def check_published(name: str, weights: str) -> None:
    """Raise OptionError for weights that are neither a file's nor a seed's, and not the published ones."""
    if weights != PUBLISHED:
        raise OptionError(
            f"{name} has no weights {weights[:80]!r}, expected {PUBLISHED}, random:SEED or a file",
            "timm's tags belong to the name: -b timm:resnet18.a1_in1k",
        )
