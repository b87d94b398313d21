"""What weights were asked for, by their text: published ones, a seed, or a file."""

from __future__ import annotations

import re
from pathlib import Path

from featx.core.specs import BackboneConfig
from featx.errors import OptionError, WeightsError

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
