"""Several ``-b`` and ``--weights``: which networks they are, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from featx.core.backbone_names import PIXELS, is_run
from featx.core.specs import BackboneConfig
from featx.errors import OptionError


def networks_of(backbones: Sequence[str], weights: Sequence[str]) -> list[tuple[str, str]]:
    """Return each network once, with its weights: its name, and what ``--weights`` says of it.

    Raises
    ------
    OptionError
        They are not as many as each other, and neither was given once.
    """
    count = max(len(backbones), len(weights))
    for flag, given in (("--backbone", backbones), ("--weights", weights)):
        if len(given) not in (1, count):
            raise OptionError(
                f"{flag} was given {len(given)} times for {count} networks, expected once or {count} times",
                "give --backbone and --weights as often as each other, or one of them once",
            )
    if len(weights) == 1 < count:  # what is for all is not for those that bring their own, or need none
        own = [BackboneConfig.weights if is_run(name) or name == PIXELS else weights[0] for name in backbones]
        return list(dict.fromkeys(zip(backbones, own, strict=True)))
    return list(dict.fromkeys(zip(list(backbones) * (count // len(backbones)), weights, strict=True)))


def short_names(networks: Sequence[tuple[str, str]]) -> list[str]:
    """Return a name of each network that is not another's: as little as that takes of its name and its weights.

    Parameters
    ----------
    networks : sequence of (str, str)
        Backbones and weights as the command line takes them, no two the same.
    """
    if len(networks) == 1:
        return [""]
    schemes = (
        [_brief(backbone) for backbone, _ in networks],
        [_brief(weights) for _, weights in networks] if len({backbone for backbone, _ in networks}) == 1 else [""],
        [f"{_brief(backbone)} {_brief(weights)}" for backbone, weights in networks],
    )
    for names in schemes:
        if len(set(names)) == len(networks):
            return names
    return [f"{backbone} {weights}" for backbone, weights in networks]


def _brief(text: str) -> str:
    """Return the last part of what may be a path: a file and its function, a weights file."""
    return PurePath(text).name or text
