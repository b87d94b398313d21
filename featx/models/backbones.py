"""Which network, which weights, which preprocessing; torch is loaded only where the memo does not know."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from featx.cache.memo import Memo
from featx.core.backbone_names import ALIASES, DRAWN, check_backbone, check_weights, is_run
from featx.core.specs import BackboneConfig, Interpolation, Resize, Stem, Views
from featx.models.backbone import Backbone, recalled, remembered
from featx.models.facts import Inspection, NetworkFacts
from featx.models.families import check_known, check_stem, family_of, versions
from featx.models.family import Asked
from featx.models.preprocessing import adjusted
from featx.models.standing import look_up_held
from featx.models.trained_run import TrainedRun, find_held
from featx.models.weights import is_seed

__all__ = ["Backbone", "check", "is_weights_file", "known", "look_up", "resolve"]


LOOKS = 4
"""Raised when more is found out of a network than the memo may have been told; with 3, whether it needs its batch; with
4, which layer makes its logits."""

_WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


def resolve(
    name: str,
    *,
    weights: str = BackboneConfig.weights,
    stem: Stem | None = BackboneConfig.stem,
    size: int | None = BackboneConfig.size,
    mean: Sequence[float] | None = BackboneConfig.mean,
    std: Sequence[float] | None = BackboneConfig.std,
    resize: Resize | None = BackboneConfig.resize,
    interpolation: Interpolation | None = BackboneConfig.interpolation,
    bits: int | None = BackboneConfig.bits,
    views: Views = BackboneConfig.views,
    channels: int | None = None,
    memo: Memo | None = None,
) -> Backbone:
    """Look a backbone up, as `look_up` does, by keywords.

    Parameters
    ----------
    name : str
        Any torchvision classifier, ``lenet5``, ``pixels``, one of timm's networks as ``timm:NAME`` or
        ``timm:NAME.TAG``, ``mobilenet_v1`` (timm's), a factory of one's own: ``file.py:factory`` or
        ``package.module:factory``; or the network of a training run, with its weights, preprocessing and size:
        ``run:`` and the run's id, its beginning, or its folder.
    weights : str
        ``DEFAULT`` or one of torchvision's names, ``random:SEED``, a ``.pth`` or ``.safetensors`` file, or ``run:ID``
        as above, where the names agree. For a factory DEFAULT means: as it returns the network.
    stem : str, optional
        ``cifar``: first layers for images of 32 px, for torchvision's ResNets. See
        `featx.models.torchvision_models.cifar_stem`.
    size : int, optional
        Resize the shorter side to it and cut the centre out, in px; else as the weights were trained.
    mean, std : sequence of float, optional
        One value, or one a channel; else those of the weights, ImageNet's for a file or random weights.
    resize, interpolation : str, optional
        ``crop``, ``squash``, ``pad`` or ``none``, and ``bilinear`` or ``bicubic``: see `PreprocessSpec`; else as
        the weights were trained.
    bits : int, optional
        How many bits of 16-bit images count; else as the files say, or as a run was trained.
    views : Views
        Which views of an image are averaged. Where several crops would be cut out of images that were resized to
        the crop's own size, they are resized to 8/7 of it first: 256 px for 224.
    channels : int, optional
        Of the source, where there is one: `lenet5` takes 1 or 3, `pixels` any number, a network of one's own what its
        first convolution says, all others 3. Grey is made of colours, and colours of grey; other counts must agree.
    memo : Memo, optional
        Remembers the weights' hash, so that a finished key needs no torch.

    Raises
    ------
    OptionError
        For a name, size or value that does not exist.
    WeightsError
        For weights that cannot be had.
    CorruptStoreError
        For a run whose record is damaged.
    """
    how = BackboneConfig(weights, stem, size, mean, std, resize, interpolation, bits, views)
    return look_up(name, how, channels, memo)


def look_up(name: str, how: BackboneConfig, channels: int | None, memo: Memo | None) -> Backbone:
    """Look a backbone up; it remembers as what it was asked for.

    Parameters
    ----------
    name : str
        As `resolve` takes it.
    how : BackboneConfig
        Its weights and preprocessing.
    channels : int or None
        Of the source, where there is one.
    memo : Memo or None
        Remembers the weights' hash.

    Raises
    ------
    OptionError, WeightsError, CorruptStoreError
        As `resolve`.
    """
    asked_as, weights, stem, size = name, how.weights, how.stem, how.size
    held = check(name, how, memo)
    name = ALIASES.get(name, name)
    if held is not None and weights.startswith(DRAWN):
        found = _drawn_anew(held, weights, memo)
    elif held is not None:
        found = look_up_held(held, memo, resolve)
    else:
        found = _look_up(name, weights, stem, channels, size, memo)
    return replace(found, preprocess=adjusted(found.preprocess, how), asked_as=asked_as, asked=how)


def check(name: str, how: BackboneConfig, memo: Memo | None) -> TrainedRun | None:
    """Refuse a backbone that cannot be had, as far as that can be told without torch and without the images.

    Parameters
    ----------
    name, how, memo : str, BackboneConfig, Memo or None
        As `look_up` takes them.

    Returns
    -------
    TrainedRun or None
        The network of a run, where one was named.

    Raises
    ------
    OptionError, WeightsError, CorruptStoreError
        As `resolve`.
    """
    check_backbone(name)
    check_weights(how.weights)
    name = ALIASES.get(name, name)
    held = find_held(name, how.weights, how.stem, memo.home if memo else None)
    if held is not None:
        is_seed(how.weights)  # which raises where a seed is meant and is none
        return held
    check_known(name)
    check_stem(name, how.stem)
    versions(name)  # which raises where a package is not installed
    family_of(name).check(_asked(name, how.weights, how.stem, None, how.size))
    return None


def known(name: str, how: BackboneConfig, memo: Memo) -> NetworkFacts | None:
    """Return what the memo knows of a backbone, whatever images it is for; None for one that it was not told of."""
    name = ALIASES.get(name, name)
    if is_run(name) or is_run(how.weights):
        return None
    asked = _asked(name, how.weights, how.stem, None, how.size)
    found = recalled(_about(asked), _own(name), memo)
    return None if found is None else found.facts


def _look_up(
    name: str, weights: str, stem: str | None, channels: int | None, size: int | None, memo: Memo | None
) -> Backbone:
    """Return a network with its weights' own preprocessing, as the memo knows it or as it is found to be."""
    asked = _asked(name, weights, stem, channels, size)
    lasting = family_of(name).can_remember(weights)
    return remembered(_about(asked), _own(name), memo, lasting, lambda: _inspect(asked))


def _asked(name: str, weights: str, stem: str | None, channels: int | None, size: int | None) -> Asked:
    family, is_file = family_of(name), is_weights_file(weights)
    return Asked(name, weights, stem, is_file, family.channels(channels), size if family.takes_size else None)


def _own(name: str) -> str | None:
    """Return the name again where it is that of a user's own network."""
    return name if family_of(name).is_users_code else None


def _about(asked: Asked) -> dict[str, Any]:
    """Return everything that decides about what is remembered of a network."""
    own = _own(asked.name) is not None
    return {
        "backbone": asked.name,
        "weights": asked.weights,
        "stem": asked.stem,
        "channels": asked.channels,
        "size": asked.size,
        "looks": LOOKS,
        "folder": str(Path.cwd()) if own or asked.is_file else "",
        "path": sys.path if own else [],
        "versions": versions(asked.name),
    }


def _drawn_anew(held: TrainedRun, weights: str, memo: Memo | None) -> Backbone:
    """Return a run's network with the preprocessing that it was trained with, and weights drawn anew."""
    name, channels = held.origin or held.name, held.preprocess.channels
    anew = _look_up(name, weights, held.options.get("stem"), channels, held.options.get("img_size"), memo)
    return replace(anew, preprocess=held.preprocess)


def _inspect(asked: Asked) -> Inspection:
    from featx.models.inspection import inspect  # heavy

    return inspect(asked)


def is_weights_file(weights: str) -> bool:
    """Tell whether weights are meant to be a file: they look like one, or are one."""
    path = Path(weights).expanduser()
    return path.suffix in _WEIGHT_SUFFIXES or path.is_file()
