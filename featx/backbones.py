"""Which network, which weights, which preprocessing; torch is loaded only where the memo does not know."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx import factories
from featx.cache.memo import Memo, file_stamp, is_settled
from featx.code import code_of
from featx.errors import WeightsError
from featx.naming import ALIASES, DRAWN, check_stem, is_factory, is_timm, versions
from featx.run_backbone import Held, find_held
from featx.specs import ExtractConfig, Interpolation, PreprocessSpec, Resize, Stem, Views

if TYPE_CHECKING:
    from torch import nn

PIXELS = "pixels"
LOOKS = 2
"""Raised when more is found out of a network than the memo may have been told; with 2, its channels and notes."""

_WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


@dataclass(frozen=True)
class Backbone:
    """A network with weights and the preprocessing that belongs to them.

    Parameters
    ----------
    name : str
        As in ``featx layers``.
    weights : str
        As asked: ``DEFAULT``, ``random:SEED``, a file, ``run:ID``.
    weights_sha256 : str
        Over the weight tensors.
    options : dict
        The builder's keywords.
    preprocess : PreprocessSpec
        What an image goes through.
    head, head_width : str, int
        Dotted name of the classifier and how many values go into it; empty and 0 where there is none.
    left_out : tuple of str
        The classifier, where the file's did not fit; what a run does not hold.
    notes : tuple of str
        What the user should be told.
    file : str or None
        Where the weights lie.
    code : str or None
        SHA-256 of a user's own network code.
    origin : str
        Where that code is: an absolute path or a module, and the factory.
    held : Held or None
        The training run that it is of.
    """

    name: str
    weights: str
    weights_sha256: str
    preprocess: PreprocessSpec
    options: dict[str, Any] = field(default_factory=dict)
    head: str = ""
    head_width: int = 0
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    file: str | None = None
    code: str | None = None
    origin: str = ""
    held: Held | None = None

    def module(self) -> nn.Module:
        """Build the network anew: weights loaded, eval mode, float32, on the CPU, without gradients.

        Raises
        ------
        WeightsError
            Where the weights are no longer those that were looked at.
        """
        from featx.weights import state_hash  # heavy

        module = self._build()
        if self.name != PIXELS and state_hash(module) != self.weights_sha256:
            raise WeightsError(f"the weights of {self.name} changed while featx was running", "run it again")
        return module.eval().requires_grad_(False)

    def _build(self) -> nn.Module:
        if self.held is not None:
            from featx.trained import rebuild  # heavy

            return rebuild(self.held).network
        from featx.building import build

        own = factories.parse(self.origin) if self.origin else None
        return build(self.name, self.weights, self.options, self.head, self.file, own, self.code)


def resolve(
    name: str,
    *,
    weights: str = ExtractConfig.weights,
    stem: Stem | None = ExtractConfig.stem,
    size: int | None = ExtractConfig.size,
    mean: Sequence[float] | None = ExtractConfig.mean,
    std: Sequence[float] | None = ExtractConfig.std,
    resize: Resize | None = ExtractConfig.resize,
    interpolation: Interpolation | None = ExtractConfig.interpolation,
    views: Views = ExtractConfig.views,
    channels: int | None = None,
    memo: Memo | None = None,
) -> Backbone:
    """Look a backbone up.

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
        ``cifar``: first layers for images of 32 px, for torchvision's ResNets. See `featx.networks.cifar_stem`.
    size : int, optional
        Resize the shorter side to it and cut the centre out, in px; else as the weights were trained.
    mean, std : sequence of float, optional
        One value, or one a channel; else those of the weights, ImageNet's for a file or random weights.
    resize, interpolation : str, optional
        ``crop``, ``squash``, ``pad`` or ``none``, and ``bilinear`` or ``bicubic``: see `PreprocessSpec`; else as
        the weights were trained.
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
    name = ALIASES.get(name, name)
    held = find_held(name, weights, stem, memo.home if memo else None)
    if held is not None:
        found = _look_up_held(held, weights, memo)
    else:
        check_stem(name, stem)
        found = _pixels(channels or 3) if name == PIXELS else _look_up(name, weights, stem, channels, size, memo)
    return replace(found, preprocess=_adjusted(found.preprocess, size, resize, interpolation, mean, std, views))


def _pixels(channels: int) -> Backbone:
    mean, std = (0.0,) * channels, (1.0,) * channels
    plain = PreprocessSpec(None, None, channels, mean=mean, std=std)
    return Backbone(PIXELS, "none", hashlib.sha256(b"").hexdigest(), plain)


def _look_up(
    name: str, weights: str, stem: str | None, channels: int | None, size: int | None, memo: Memo | None
) -> Backbone:
    """Return a network with its weights' own preprocessing, as the memo knows it or as it is found to be."""
    taken = 1 if name == "lenet5" and channels == 1 else 3
    own = is_factory(name)
    about = {
        "backbone": name,
        "weights": weights,
        "stem": stem,
        "channels": taken,
        "size": size if is_timm(name) else None,
        "looks": LOOKS,
        "folder": str(Path.cwd()) if own or is_weights_file(weights) else "",
        "path": sys.path if own else [],
        "versions": versions(name),
    }
    # What a factory loads from elsewhere has no stamp: such weights are looked at each time.
    seen = not own or weights != ExtractConfig.weights
    known = _known(about, name if own else None, memo, seen, lambda: _inspect(name, weights, stem, taken, size))
    return _backbone(known, weights)


def _look_up_held(held: Held, weights: str, memo: Memo | None) -> Backbone:
    """Return a run's network with the preprocessing that it was trained with; its weights may be drawn anew."""
    if weights.startswith(DRAWN):
        name, channels = held.origin or held.name, held.preprocess.channels
        drawn = _look_up(name, weights, held.options.get("stem"), channels, held.options.get("img_size"), memo)
        return replace(drawn, preprocess=held.preprocess)

    def inspect() -> dict[str, Any]:
        from featx.trained import inspect_trained  # heavy

        return inspect_trained(held)

    about = {"held": asdict(held), "versions": versions(held.name)}
    known = _known(about, held.origin or None, memo, True, inspect)
    return replace(_backbone(known, held.run), held=held)


def _known(
    about: Mapping[str, Any], own: str | None, memo: Memo | None, lasting: bool, inspect: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return what the memo knows of a network, where that still holds, else what is found and may be remembered."""
    known: dict[str, Any] | None = memo.get("backbone", about) if memo else None
    if known is None or not _is_current(known, own):
        known = inspect()
        if memo and lasting and all(is_settled(stamp) for _, stamp in known["files"]):
            memo.put("backbone", about, known)
    return known


def _backbone(known: Mapping[str, Any], weights: str) -> Backbone:
    return Backbone(
        name=known["name"],
        weights=weights,
        weights_sha256=known["sha256"],
        preprocess=PreprocessSpec.from_dict(known["preset"]),
        options=known["options"],
        head=known["head"],
        head_width=known["head_width"],
        left_out=tuple(known["left_out"]),
        notes=tuple(known["notes"]),
        file=known["file"],
        code=known["code"],
        origin=known["origin"],
    )


def _is_current(known: Mapping[str, Any], own: str | None) -> bool:
    """Tell whether what was found of a network still holds; `own` names the factory of one that is the user's."""
    if not all(_stamp(file) == stamp for file, stamp in known["files"]):
        return False
    # Stamps tell of files that were there: a module that is new may stand before them, or be one that was missed.
    return own is None or bool(code_of(factories.sources(factories.parse(own))) == known["code"])


def _inspect(name: str, weights: str, stem: str | None, channels: int, size: int | None) -> dict[str, Any]:
    from featx import building  # heavy

    if is_timm(name):
        return building.inspect_timm(name, weights, is_weights_file(weights), size)
    if is_factory(name):
        return building.inspect_own(factories.parse(name), weights, is_weights_file(weights))
    return building.inspect_named(name, weights, stem, is_weights_file(weights), channels)


def _adjusted(
    spec: PreprocessSpec,
    size: int | None,
    resize: Resize | None,
    interpolation: Interpolation | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    views: Views,
) -> PreprocessSpec:
    if resize == "none" and size is None:
        spec = replace(spec, resize=None, crop=None)
    if size is not None:
        spec = replace(spec, resize=size, crop=size)
    spec = replace(spec, fit=resize or spec.fit, interpolation=interpolation or spec.interpolation)
    spec = replace(spec, mean=_wide(mean or spec.mean, spec.channels), std=_wide(std or spec.std, spec.channels))
    if views.crops > 1 and spec.fit == "crop" and spec.crop is not None and spec.resize == spec.crop:
        spec = replace(spec, resize=(8 * spec.crop + 3) // 7)  # to the nearest px
    return replace(spec, views=views)


def _wide(values: Sequence[float], channels: int) -> tuple[float, ...]:
    return tuple(values) * channels if len(values) == 1 else tuple(values)


def is_weights_file(weights: str) -> bool:
    """Tell whether weights are meant to be a file: they look like one, or are one."""
    path = Path(weights).expanduser()
    return path.suffix in _WEIGHT_SUFFIXES or path.is_file()


def _stamp(file: str) -> list[int]:
    try:
        return file_stamp(file)
    except OSError:
        return []
