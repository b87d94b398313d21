"""Where a network's weights lie, by what was asked for: published ones, a seed, or a file. Loads torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.core.specs import BackboneConfig
from featx.errors import OptionError, WeightsError, either
from featx.models import timm_models, torchvision_models
from featx.models.factories import Factory
from featx.models.state_dict import fetch, match_published, published

PUBLISHED = BackboneConfig.weights
"""The name of the weights that come with a network."""


@dataclass(frozen=True)
class Located:
    """Weights that torchvision's networks can have.

    Parameters
    ----------
    enum : WeightsEnum or None
        torchvision's own description, where they are published.
    file : str or None
        Where they lie; None for those that a seed draws.
    notes : tuple of str
        What the user should be told.
    """

    enum: Any = None
    file: str | None = None
    notes: tuple[str, ...] = ()


def locate_named(name: str, weights: str, stem: str | None, is_file: bool) -> Located:
    """Find the weights of `lenet5` or one of torchvision's networks; published ones are downloaded.

    Raises
    ------
    OptionError, WeightsError
        For weights that cannot be had.
    """
    if _is_seed(weights):
        return Located()
    if is_file:
        return _local_file(name, weights)
    if name == "lenet5":
        raise OptionError(
            f"lenet5 has no published weights {weights[:80]!r}, expected random:SEED or a file",
            "use --weights random:0",
        )
    enum = published(name, weights)
    if stem is not None:
        raise OptionError(
            f"{name}'s published weights {weights} have a 7 x 7 conv1, and --stem {stem} has a 3 x 3 one",
            "use --weights random:0, a file of a network with that stem, or "
            + either("`featx train --mode scratch`", "EndToEndClassifier(mode='scratch')"),
        )
    return Located(enum, str(fetch(enum)))


def _local_file(name: str, weights: str) -> Located:
    file = existing(weights)
    # A copy under another name is to be used as the published weights are: these expect another scaling.
    if name in torchvision_models.RESCALING and (known := match_published(name, Path(file))) is not None:
        return Located(known, file, (f"{weights} is {known}: its own preprocessing is used",))
    return Located(None, file)


def locate_timm(name: str, weights: str, is_file: bool) -> str | None:
    """Return the file of weights of one of timm's networks, or None; raises as `locate_named`."""
    if _is_seed(weights):
        return None
    if is_file:
        return existing(weights)
    if weights != PUBLISHED:
        raise OptionError(
            f"{name} has no weights {weights[:80]!r}, expected {PUBLISHED}, random:SEED or a file",
            "timm's tags belong to the name: -b timm:resnet18.a1_in1k",
        )
    return str(timm_models.fetch(name))


def locate_own(own: Factory, weights: str, is_file: bool) -> str | None:
    """Return the file of weights of a user's own network, or None; raises as `locate_named`."""
    if weights == PUBLISHED or _is_seed(weights):
        return None
    if not is_file:
        raise OptionError(
            f"{own.label} has no published weights {weights[:80]!r}, expected {PUBLISHED}, random:SEED or a file",
            f"{PUBLISHED} takes the network as the factory returns it",
        )
    return existing(weights)


def _is_seed(weights: str) -> bool:
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
