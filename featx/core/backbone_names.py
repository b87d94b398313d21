"""Prefixes and kinds of backbone names and of their weights' names; without torch."""

from __future__ import annotations

from featx.core.specs import BackboneConfig
from featx.core.validation import check_text
from featx.errors import OptionError

TIMM = "timm:"
"""What the names of timm's networks begin with."""

RUN = "run:"
"""What names the network of a training run, before its id or folder."""

PIXELS = "pixels"
"""The backbone that gives an image's pixels."""

DRAWN = "random:"
"""What random weights are called, before their seed."""

ALIASES = {"mobilenet_v1": "timm:mobilenetv1_100"}
"""Names that stand for others."""


def check_backbone(name: object) -> None:
    """Raise OptionError for a backbone that is no name, such as a network itself: nothing would tell its code."""
    check_text(
        "backbone",
        name,
        "a network's name, or file.py:factory",
        "of a network of your own, name the function that returns it: networks.py:make",
    )


def check_weights(weights: object) -> None:
    """Raise OptionError for weights that are no text."""
    check_text("weights", weights, f"{BackboneConfig.weights}, random:SEED, or a file's path or run:ID as text")


def is_run(name: str) -> bool:
    """Tell whether a backbone's name, or that of weights, means what a training run holds."""
    return name.startswith(RUN)


def scratch_weights(weights: str, seed: int) -> str:
    """Return the weights that a training from scratch begins with: drawn from its seed, or from another one.

    Raises
    ------
    OptionError
        For weights that somebody trained.
    """
    check_weights(weights)
    if weights == BackboneConfig.weights:
        return f"{DRAWN}{seed}"
    if not weights.startswith(DRAWN):
        raise OptionError(f"mode scratch draws new weights, and {weights[:80]} was given", "leave --weights out")
    return weights
