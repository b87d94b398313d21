"""Which sources have a left and a right, so that their mirror images are of no class, or of another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from featx.data.dataset_arrays import ARRAY_SETS
from featx.data.dataset_images import IMAGE_SETS
from featx.data.sources import Source
from featx.errors import ImageError
from featx.training.config import MIRRORING, NOT_MIRRORED, AugmentName, TrainConfig

KNOWN: dict[str, str] = {
    "digits": "digits",
    **{name: chosen.directed for name, chosen in ARRAY_SETS.items()},
    **{name: chosen.directed for name, chosen in IMAGE_SETS.items()},
}
"""What the data sets that have a name show, where that has a direction; else an empty string."""

MANY = 10
"""So many classes called by one character are taken for an alphabet or the digits, not for placeholders."""

LOOKED_AT = 3
"""Images that are looked at, to tell handwriting from photographs."""


@dataclass(frozen=True)
class Augmentation:
    """How a training's images are changed, and why so.

    Parameters
    ----------
    kind : str
        One of `AUGMENTS`.
    why : str
        In words; empty where there is nothing to say.
    misleads : bool
        Whether it was asked for, and mirrors what has a direction.
    """

    kind: AugmentName
    why: str = ""
    misleads: bool = False


def augmentation_of(config: TrainConfig, source: Source) -> Augmentation:
    """Return the augmentation asked for, or the mode's own without mirroring where the source has a direction."""
    usual = config.augmentation
    shown = directed(source) if usual in MIRRORING else ""
    if not shown:
        return Augmentation(usual)
    other = NOT_MIRRORED.get(usual, "crop")
    if config.augment is not None:
        said = f"augmentation {usual} mirrors {shown}, which have a direction: {other} does not"
        return Augmentation(usual, said, misleads=True)
    said = f"augmentation {other}: {shown} have a direction and are not mirrored, unless by --augment {usual}"
    return Augmentation(other, said)


def directed(source: Source) -> str:
    """Return what a source shows, in words, if that has a direction; else an empty string.

    The name tells, be it that of a file (``svhn.npz``); or the classes do: ten digits of grey images, an alphabet, a
    left one beside a right one.
    """
    plain = {_plain(name): shown for name, shown in KNOWN.items()}
    shown = plain.get(_plain(PurePath(source.spec).stem))
    return _by_classes(source) if shown is None else shown


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _by_classes(source: Source) -> str:
    names = [name.strip().lower() for name in source.classes]
    if pair := _left_and_right(names):
        return f"classes such as {pair[0]} and {pair[1]}"
    if len(names) < MANY or not all(len(name) == 1 and name.isalnum() for name in names):
        return ""
    if any(name.isalpha() for name in names):
        return "letters"
    # Classes without names are numbered too: colours are no handwriting.
    return "digits" if _is_grey(source) else ""


def _left_and_right(names: Sequence[str]) -> tuple[str, str] | None:
    known = set(names)
    for name in names:
        other = re.sub(r"(?<![a-z])left(?![a-z])", "right", name)
        if other != name and other in known:
            return name, other
    return None


def _is_grey(source: Source) -> bool:
    if source.channels == 1:
        return True
    try:
        found = [source[i][0] for i in range(min(LOOKED_AT, len(source)))]
    except ImageError:
        return False
    return bool(found) and all(np.ptp(pixels, axis=2).max() == 0 for pixels in found)
