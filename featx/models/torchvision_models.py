"""Networks by name: torchvision's classifiers, LeNet-5, and the identity that raw pixels go through."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torchvision
from torch import nn

from featx.core.specs import IMAGENET_MEAN, IMAGENET_STD, PreprocessSpec
from featx.errors import OptionError, suggest

AUXILIARY = ("aux1", "aux2", "AuxLogits")
"""Heads that only help training; evaluation never runs them."""

RESCALING = ("googlenet", "inception_v3")
"""Networks whose published weights expect the older TensorFlow scaling of the input."""


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al., 1998) for 32 x 32 px, with ReLU and max pooling in place of tanh and means.

    Parameters
    ----------
    num_classes : int
        Outputs of the last layer.
    channels : int
        1 (grey) or 3 (colour).
    """

    def __init__(self, num_classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5)  # 32 -> 28 px
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)  # 14 px
        self.conv2 = nn.Conv2d(6, 16, 5)  # 10 px
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)  # 5 px
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, k) for images of shape (n, C, 32, 32)."""
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = self.relu4(self.fc2(self.relu3(self.fc1(self.flatten(x)))))
        out: torch.Tensor = self.fc3(x)
        return out


class Pixels(nn.Module):
    """The identity; its one node is ``pixels``."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the images as they are."""
        out: torch.Tensor = self.pixels(x)
        return out


OWN: dict[str, Callable[..., nn.Module]] = {"lenet5": LeNet5, "pixels": Pixels}


def names() -> list[str]:
    """Return every network that featx can build by name, timm's apart."""
    return sorted([*OWN, *torchvision.models.list_models(module=torchvision.models)])


def check_name(name: str) -> None:
    """Raise OptionError, with the nearest names, unless the network exists."""
    known = names()
    if name not in known:
        hint = suggest(name, known) or "`python -c 'import torchvision; print(torchvision.models.list_models())'`"
        raise OptionError(f"there is no backbone {name[:80]!r}, expected one of {len(known)} names", hint)


def build(name: str, options: dict[str, Any]) -> nn.Module:
    """Build a network with freshly drawn weights.

    Parameters
    ----------
    name : str
        One of `names`.
    options : dict
        The builder's own keywords, for example ``num_classes``; and ``stem``, see `cifar_stem`.
    """
    if name in OWN:
        return OWN[name](**options)
    keywords = {key: value for key, value in options.items() if key != "stem"}
    found: nn.Module = torchvision.models.get_model(name, weights=None, **keywords)
    return cifar_stem(found) if "stem" in options else found


STEM_PX = 32
"""The size that a network with `cifar_stem` takes where none is given."""


def cifar_stem(network: nn.Module) -> nn.Module:
    """Give a ResNet the first layers that suit images of 32 px, and return it, changed.

    A 3 x 3 convolution with stride 1 in place of the 7 x 7 one with stride 2, and no max pooling: He et al., "Deep
    residual learning for image recognition", 2016, section 4.2 (the convolution), and Chen et al., "A simple
    framework for contrastive learning of visual representations", 2020, appendix B.9 (for networks of ImageNet's
    widths). ``maxpool`` stays a node, which changes nothing.
    """
    old: Any = network.conv1
    conv1 = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision draws the others
    network.conv1, network.maxpool = conv1, nn.Identity()
    return network


def builder_options(name: str, *, loaded: bool, published: bool, auxiliary: bool) -> dict[str, Any]:
    """Return what GoogLeNet and Inception need to be told; other networks need nothing.

    Parameters
    ----------
    loaded : bool
        Weights will be loaded, so that drawing them carefully would only cost time.
    published : bool
        They are torchvision's own, which expect the older TensorFlow scaling of the input.
    auxiliary : bool
        The weights hold the auxiliary heads.
    """
    if name not in RESCALING:
        return {}
    return {"init_weights": not loaded, "transform_input": published, "aux_logits": auxiliary}


def tensor_names(name: str) -> set[str]:
    """Return the names of a network's weights, auxiliary heads aside, without drawing any."""
    options = builder_options(name, loaded=True, published=False, auxiliary=False)
    with torch.device("meta"):
        return set(build(name, options).state_dict())


def vit_size(state: Mapping[str, torch.Tensor]) -> int | None:
    """Return the only image size, in px, that a vision transformer's weights take; None for other weights."""
    positions, patches = state.get("encoder.pos_embedding"), state.get("conv_proj.weight")
    if positions is None or patches is None or positions.ndim != 3 or patches.ndim != 4:
        return None
    return math.isqrt(max(0, positions.shape[1] - 1)) * patches.shape[-1] or None


def preset_of(name: str, weights: Any = None, channels: int = 3) -> PreprocessSpec:
    """Return the preprocessing that published weights were trained with.

    Parameters
    ----------
    weights : torchvision weights enum, optional
        Without it, the network's default size, with ImageNet's mean and standard deviation.
    """
    if name == "lenet5":
        return plain_preset(32, channels)
    known = weights or next(iter(torchvision.models.get_model_weights(name)), None)
    if known is None:
        return PreprocessSpec(resize=256, crop=224)
    if weights is None and hasattr(torchvision.models.get_model_weights(name), "DEFAULT"):
        known = torchvision.models.get_model_weights(name)["DEFAULT"]
    preset = known.transforms()
    spec = PreprocessSpec(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        interpolation=preset.interpolation.value,
    )
    if weights is None:
        return spec
    return PreprocessSpec(
        resize=spec.resize,
        crop=spec.crop,
        interpolation=spec.interpolation,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def plain_preset(px: int, channels: int) -> PreprocessSpec:
    """Return the preprocessing of a network whose own nobody published: ImageNet's statistics.

    A grey image has the mean of the three channels' statistics; of other channels none are known, and values stay 0
    to 1.
    """
    mean, std = (0.0,) * channels, (1.0,) * channels
    if channels == 3:
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    elif channels == 1:
        mean, std = (round(sum(IMAGENET_MEAN) / 3, 3),), (round(sum(IMAGENET_STD) / 3, 3),)
    return PreprocessSpec(resize=px, crop=px, channels=channels, mean=mean, std=std)


def channels_last(module: nn.Module) -> nn.Module:
    """Lay the four-dimensional weights out channels last in memory, and return the network, which is changed.

    ``Module.to`` refuses a network with a five-dimensional one, such as the windows' mask of timm's Swin.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return module


def head_width(head: nn.Module) -> int:
    """Return how many values a classifier takes."""
    width = head.in_channels if isinstance(head, nn.Conv2d) else head.in_features
    return int(width)  # type: ignore[arg-type]


def find_head(module: nn.Module) -> str:
    """Return the dotted name of the classifier: the last linear layer, or SqueezeNet's last convolution.

    Raises
    ------
    OptionError
        For a network that has neither.
    """
    last = ""
    for kind in (nn.Linear, nn.Conv2d):
        for name, child in module.named_modules():
            if isinstance(child, kind) and not name.startswith(AUXILIARY):
                last = name
        if last:
            return last
    raise OptionError(f"{type(module).__name__} has no classifier", "a network that ends in a linear layer")
