"""What weights were asked for, by their text: published ones, a seed, or a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from featx.core.specs import BackboneConfig
from featx.errors import OptionError, WeightsError, suggest

PUBLISHED = BackboneConfig.weights
"""The name of the weights that come with a network."""


def is_seed(weights: str) -> bool:
    """Tell whether weights are to be drawn from a seed; OptionError for a seed that is none."""
    if weights.partition(":")[0] != "random":
        return False
    if not re.fullmatch(r"random:\d{1,18}", weights):
        raise OptionError(f"weights {weights[:80]!r}, expected random:SEED", "for example random:0")
    return True


def existing(weights: str) -> str:
    """Return a weights file's absolute path; WeightsError where it is not there."""
    path = Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(f"there is no weights file {weights}", "check the path, or use random:0")
    return str(path.absolute())


def check_published(name: str, weights: str, kind: str, known: Sequence[str]) -> str:
    """Return which of a network's published weights are meant.

    Parameters
    ----------
    name, weights : str
        Of the network; as asked for, with or without the `kind` before it.
    kind : str
        What torchvision calls the list of them, such as ``ResNet18_Weights``.
    known : sequence of str
        Its members.

    Raises
    ------
    OptionError
        For weights that the network does not have.
    """
    wanted = weights.removeprefix(f"{kind}.")
    if wanted not in known:
        raise OptionError(
            f"{name} has no weights {weights[:80]!r}, expected {', '.join(known)}, random:SEED or a file",
            suggest(wanted, known) or "a file's name ends in .pth or .safetensors",
        )
    return wanted
