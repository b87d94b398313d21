"""What a backbone's name means, told without torch: torchvision's, timm's, a run's, or a factory of one's own."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from featx.core.specs import STEMS, BackboneConfig
from featx.core.validation import check_choice, check_text
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

_RESNETS = ("resnet", "resnext", "wide_resnet")


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


def is_timm(name: str) -> bool:
    """Tell whether a backbone's name means one of timm's networks."""
    return name.startswith(TIMM)


def is_run(name: str) -> bool:
    """Tell whether a backbone's name, or that of weights, means what a training run holds."""
    return name.startswith(RUN)


def is_factory(name: str) -> bool:
    """Tell whether a backbone's name means a user's own network."""
    return ":" in name and not is_timm(name) and not is_run(name)


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


def takes_stem(name: str) -> bool:
    """Tell whether a network is one of torchvision's ResNets, whose first layers `stem` changes."""
    return name.startswith(_RESNETS) and ":" not in name


def check_stem(name: str, stem: str | None) -> None:
    """Raise OptionError for a stem that is unknown or that the network does not have."""
    if stem is None:
        return
    check_choice("stem", stem, STEMS)
    if not takes_stem(name):
        raise OptionError(
            f"--stem {stem} changes the first layers of torchvision's ResNets, and {name[:80]} is none of them",
            "leave --stem out, or take resnet18, resnet50, resnext50_32x4d, wide_resnet50_2, ...",
        )


def versions(name: str) -> dict[str, str]:
    """Return the versions of the packages whose code a backbone's features come from.

    Raises
    ------
    OptionError
        For a network of timm where timm is not installed.
    """
    packages = ["featx", "torch", "torchvision", *(["timm"] if is_timm(name) else [])]
    try:
        return {package: version(package) for package in packages}
    except PackageNotFoundError as exc:
        raise OptionError(
            f"backbone {name[:80]} needs {exc.name}, which is not installed", f"pip install 'featx[{exc.name}]'"
        ) from exc
