"""The families of backbones, by what their names are or begin with. Loads no torch."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

from featx.core.backbone_names import PIXELS, TIMM
from featx.core.packages import version
from featx.core.specs import STEMS
from featx.core.validation import check_choice
from featx.errors import OptionError, suggest
from featx.models.built_in_families import LeNet5Family, PixelsFamily
from featx.models.factory_family import FactoryFamily
from featx.models.family import Family
from featx.models.timm_family import TimmFamily
from featx.models.torchvision_family import TorchvisionFamily

ANY_PREFIX, PLAIN = ":", ""

FAMILIES: dict[str, Family] = {
    PIXELS: PixelsFamily(),
    "lenet5": LeNet5Family(),
    TIMM: TimmFamily(),
    ANY_PREFIX: FactoryFamily(),
    PLAIN: TorchvisionFamily(),
}
"""By a backbone's whole name, else by what its name begins with up to a colon; the last two have all other names."""


def family_of(name: str) -> Family:
    """Return the family that a backbone's name belongs to; a name that no network has belongs to one too."""
    prefix, colon, _ = name.partition(":")
    return FAMILIES.get(name) or FAMILIES.get(prefix + colon) or FAMILIES[colon]


def plain_names() -> list[str]:
    """Return every backbone's name that begins with no prefix, in order."""
    whole = [key for key in FAMILIES if key and not key.endswith(":")]
    return sorted([*whole, *FAMILIES[PLAIN].names()])


def prefixes() -> list[str]:
    """Return what the names of families begin with that have no plain names."""
    return [key for key in FAMILIES if key.endswith(":") and key != ANY_PREFIX]


def check_known(name: str) -> None:
    """Raise OptionError, with the nearest names, for a plain name that no network has."""
    known = [] if ":" in name else plain_names()
    if known and name not in known:
        hint = suggest(name, known) or "`python -c 'import torchvision; print(torchvision.models.list_models())'`"
        raise OptionError(f"there is no backbone {name[:80]!r}, expected one of {len(known)} names", hint)


def check_stem(name: str, stem: str | None) -> None:
    """Raise OptionError for a stem that is unknown or that the network does not have."""
    if stem is None:
        return
    check_choice("stem", stem, STEMS)
    if not family_of(name).takes_stem(name):
        raise OptionError(
            f"--stem {stem} changes the first layers of torchvision's ResNets, and {name[:80]} is none of them",
            "leave --stem out, or take resnet18, resnet50, resnext50_32x4d, wide_resnet50_2, ...",
        )


def versions(name: str) -> dict[str, str]:
    """Return the versions of the packages whose code a backbone's features come from.

    Raises
    ------
    OptionError
        For a network of a package that is not installed.
    """
    try:
        return {package: version(package) for package in ("featx", "torch", "torchvision", *family_of(name).packages)}
    except PackageNotFoundError as exc:
        raise OptionError(
            f"backbone {name[:80]} needs {exc.name}, which is not installed", f"pip install 'featx[{exc.name}]'"
        ) from exc
