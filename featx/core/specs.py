"""What a user asks for, as frozen values. Every default of featx is written here, once."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

from featx.core.validation import check_bits, check_choice, check_count, check_range, checked_numbers
from featx.errors import OptionError, choices

Precision = Literal["fp32", "bf16", "fp16"]
Dtype = Literal["float32", "float16"]
Resize = Literal["crop", "squash", "pad", "none"]
Interpolation = Literal["bilinear", "bicubic"]
Crops = Literal[1, 5, 10]
Stem = Literal["cifar"]
OnError = Literal["raise", "skip"]

PRECISIONS: tuple[Precision, ...] = choices(Precision)
DTYPES: tuple[Dtype, ...] = choices(Dtype)
RESIZES: tuple[Resize, ...] = choices(Resize)
INTERPOLATIONS: tuple[Interpolation, ...] = choices(Interpolation)
CROPS: tuple[Crops, ...] = choices(Crops)
STEMS: tuple[Stem, ...] = choices(Stem)
ON_ERROR: tuple[OnError, ...] = choices(OnError)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Progress = Callable[[str, int, int], None]
"""Called with (stage, images done, images in all); the command line draws it."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class LayerSpec:
    """A node of a network and how its activation becomes one row.

    Parameters
    ----------
    node : str
        A module path (``layer3``, ``features.30``, ``trunk_output.block1.block1-0``) or one of torchvision's graph
        nodes (``layer1.0.add``); or several of them: ``all``, or a pattern in which ``*`` and ``?`` match anything but
        a dot (``layer*``).
    pool : str
        ``flat`` (every value), ``avg``, ``max`` (over space or tokens), ``avgN`` (an N x N grid of means) or
        ``cls`` (the class token).

    Raises
    ------
    OptionError
        For what is no node's name or no pooling.

    Examples
    --------
    >>> str(LayerSpec.parse("layer3:avg"))
    'layer3:avg'
    """

    node: str
    pool: str = "flat"

    # PyTorch takes any name without a dot. What a shell, a list or a path would cut in two stays out: blanks, : , ; / !
    _PART: ClassVar = r"[A-Za-z0-9_*?+=@#~()\[\]<>-]+"
    _NODE: ClassVar = re.compile(rf"{_PART}(\.{_PART})*")
    _POOL: ClassVar = re.compile(r"flat|avg([2-9]|[1-9][0-9]{1,2})?|max|cls")

    def __post_init__(self) -> None:
        if not self._NODE.fullmatch(self.node):
            raise OptionError(
                f"layer {self.node[:80]!r} is not a node name, expected letters, digits, '_', '-', '.', '*' and '?'",
                "`featx layers BACKBONE` lists them",
            )
        if not self._POOL.fullmatch(self.pool):
            raise OptionError(
                f"pooling {self.pool[:80]!r} of layer {self.node[:80]!r} is unknown, expected flat, avg, "
                "avgN (N from 2 to 999), max or cls",
                f"for example {self.node[:80]}:avg",
            )

    @classmethod
    def parse(cls, text: str) -> LayerSpec:
        """Read ``NODE`` or ``NODE:POOLING``; the inverse of ``str``.

        Parameters
        ----------
        text : str
            As the command line takes it; ``avg1`` means ``avg``.

        Returns
        -------
        LayerSpec
            What it means.

        Raises
        ------
        OptionError
            For what is no node's name or no pooling.
        """
        node, colon, pool = text.partition(":")
        if not colon:
            return cls(node)
        return cls(node, "avg" if pool == "avg1" else pool)

    def __str__(self) -> str:
        return self.node if self.pool == "flat" else f"{self.node}:{self.pool}"

    @classmethod
    def can_name(cls, node: str) -> bool:
        """Tell whether a layer can be written that means this node of a network, whose names PyTorch leaves free.

        Parameters
        ----------
        node : str
            The network's own name.

        Returns
        -------
        bool
            False where the name holds other characters than a layer's, or those of a pattern.
        """
        return cls._NODE.fullmatch(node) is not None and not cls(node).is_pattern

    @property
    def is_pattern(self) -> bool:
        """Whether it can match several nodes."""
        return self.node == "all" or "*" in self.node or "?" in self.node

    def matches(self, name: str) -> bool:
        """Tell whether a pattern means a node: ``layer*`` means ``layer1``, and not ``layer1.0``.

        Parameters
        ----------
        name : str
            The node's name.

        Returns
        -------
        bool
            True for every node where this is ``all``.
        """
        if self.node == "all":
            return True
        pattern = re.escape(self.node).replace(r"\*", "[^.]*").replace(r"\?", "[^.]")
        return re.fullmatch(pattern, name) is not None

    @property
    def grid(self) -> int:
        """N of ``avgN``; 1 for ``avg``."""
        return int(self.pool[3:] or 1) if self.pool.startswith("avg") else 0


@dataclass(frozen=True)
class Views:
    """The views of an image whose features are averaged; each has its own forward pass.

    Parameters
    ----------
    crops : int
        1, the centre; 5, the centre and the four corners (torchvision's ``FiveCrop``); or 10, those and their mirror
        images (``TenCrop``), stored as 5 with `flip`: one spelling per value.
    flip : bool
        Whether each view's mirror image is a view too.
    scales : tuple of float
        Sizes relative to the network's input size, each with all these views; stored in ascending order.

    Raises
    ------
    OptionError
        For other values.
    """

    crops: Crops = 1
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    LARGEST: ClassVar = 8.0

    def __post_init__(self) -> None:
        if self.crops not in CROPS:
            raise OptionError(f"crops is {self.crops!r}, expected 1, 5 or 10", "give another --crops")
        if self.flip not in (False, True):
            raise OptionError(f"flip is {self.flip!r}, expected True or False", "give another flip")
        given: Any = self.scales
        scales = tuple(given) if isinstance(given, Iterable) else checked_numbers("scales", given)
        for scale in scales:
            check_range("scales", scale, below=self.LARGEST)
        if not scales or 0 in scales or len(set(scales)) < len(scales):
            raise OptionError(
                f"scales are {scales}, expected positive numbers, each once", "for example --scales 1,1.25"
            )
        object.__setattr__(self, "flip", bool(self.flip) or self.crops == 10)
        object.__setattr__(self, "crops", 5 if self.crops > 1 else 1)
        object.__setattr__(self, "scales", tuple(sorted(map(float, scales))))

    def as_dict(self) -> dict[str, Any]:
        """Return what differs from the plain centre crop: a later field changes no old key.

        Returns
        -------
        dict
            JSON-able values by field; empty for the plain centre crop.
        """
        plain = Views()
        values = {name: value for name, value in asdict(self).items() if value != getattr(plain, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def __str__(self) -> str:
        said = [f"{self.crops} crops"] * (self.crops > 1) + ["flip"] * self.flip
        if self.scales != Views.scales:
            said.append(f"scales {','.join(f'{scale:g}' for scale in self.scales)}")
        return ", ".join(said)


@dataclass(frozen=True)
class PreprocessSpec:
    """How a decoded image becomes a network's input.

    With ``crop``, the shorter side is resized to `resize` px, the centre `crop` x `crop` px cropped, values scaled to
    0..1, then ``(value - mean) / std`` per channel: torchvision's ``ImageClassification`` preset, step by step.

    Parameters
    ----------
    resize, crop : int or None
        Pixels. None keeps the image's size: all images must then have the same size.
    channels : int
        3 (RGB), 1 (grey, converted as by Pillow's mode L and torchvision's Grayscale), or the number that your own
        network takes, up to `MOST_CHANNELS`: images must then have exactly that many.
    mean, std : tuple of float
        One value per channel, in units of 0..1.
    interpolation : str
        ``bilinear`` or ``bicubic``, with Pillow's antialiasing.
    fit : str
        How images are made square: ``crop`` as above; ``squash`` resizes to `crop` x `crop` px whatever the aspect
        ratio; ``pad`` resizes the longer side to `crop` px and pads the shorter one with black; ``none`` keeps the
        size.
    decoder, resizer : str
        Name and version of the algorithm, incremented when a release changes pixels.
    views : Views
        Which views of the image are averaged. Five crops need ``crop`` as `fit` and a `resize` larger than `crop`;
        several scales need a size.
    bits : int, optional
        Significant bits of 16-bit images, 8 to 16, whatever the files say; None as they say, else all.

    Raises
    ------
    OptionError
        For invalid or incompatible values.
    """

    resize: int | None
    crop: int | None
    channels: int = 3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: Interpolation = "bilinear"
    fit: Resize = "crop"
    decoder: str = "pillow-upright-1"
    resizer: str = "pillow-antialias-1"
    views: Views = Views()
    bits: int | None = None

    MOST_CHANNELS: ClassVar = 64

    def __post_init__(self) -> None:
        sizes: dict[str, Any] = {"resize": self.resize, "crop": self.crop}
        for name, px in sizes.items():
            if px is not None and not (isinstance(px, numbers.Integral) and 1 <= int(px) <= 16384):
                raise OptionError(f"{name} of {px} px, expected 1 to 16384", "give another --size")
            object.__setattr__(self, name, None if px is None else int(px))
        if not (isinstance(self.channels, int) and 1 <= self.channels <= self.MOST_CHANNELS):
            raise OptionError(f"{self.channels} channels, expected 3 (RGB), 1 (grey), or up to {self.MOST_CHANNELS}")
        check_choice("interpolation", self.interpolation, INTERPOLATIONS)
        check_choice("resize", self.fit, RESIZES)
        check_bits(self.bits)
        if self.fit == "none" and (self.resize, self.crop) != (None, None):
            raise OptionError("--resize none keeps the images' size, and a size was given", "leave one of them out")
        # One spelling a value, as the digest needs it: (0, 0, 0) is (0.0, 0.0, 0.0).
        for name, values in (("mean", self.mean), ("std", self.std)):
            object.__setattr__(self, name, checked_numbers(name, values))
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise OptionError(
                f"mean has {len(self.mean)} and std {len(self.std)} values for {self.channels} channel(s)",
                "give one value per channel to --mean and --std",
            )
        if not all(map(math.isfinite, self.mean)):
            raise OptionError(f"mean {self.mean} is not finite", "give finite values to --mean")
        if not all(0 < s < math.inf for s in self.std):
            raise OptionError(f"std {self.std} is not positive", "give positive values to --std")
        self._check_views()

    def _check_views(self) -> None:
        views = self.views
        if views.crops > 1 and (self.fit != "crop" or self.crop is None or self.resize is None):
            raise OptionError(
                f"--crops {views.crops} crops corners of images larger than the input, and there are none: "
                f"{'no size was given' if self.fit == 'crop' else f'--resize {self.fit} keeps the whole image'}",
                "give --size" if self.fit == "crop" else "use --resize crop",
            )
        if views.crops > 1 and self.resize <= self.crop:  # type: ignore[operator]
            raise OptionError(
                f"--crops {views.crops} of {self.crop} px from images resized to {self.resize} px are all the same",
                "resize to more than the crop size",
            )
        if views.scales == Views.scales:
            return
        if self.crop is None:
            raise OptionError("--scales multiplies the input size, and none was given", "give --size")
        sizes = [self.at_scale(scale).crop for scale in views.scales]
        if len(set(sizes)) < len(sizes):
            raise OptionError(
                f"--scales {','.join(f'{scale:g}' for scale in views.scales)} of {self.crop} px give "
                f"{', '.join(map(str, sizes))} px, expected different sizes",
                "give scales further apart",
            )

    def at_scale(self, scale: float) -> PreprocessSpec:
        """Return the preprocessing at a relative scale.

        Parameters
        ----------
        scale : float
            Factor for `resize` and `crop`, rounded to the nearest px, halves up.

        Returns
        -------
        PreprocessSpec
            With one scale.
        """
        if scale == 1:
            return self if self.views.scales == Views.scales else replace(self, views=self._one_scale())
        resize, crop = (None if px is None else math.floor(px * scale + 0.5) for px in (self.resize, self.crop))
        return replace(self, resize=resize, crop=crop, views=self._one_scale())

    def _one_scale(self) -> Views:
        return replace(self.views, scales=Views.scales)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a key holds them.

        Returns
        -------
        dict
            JSON-able values; `bits` only where it is given, as keys without it are older.
        """
        values = {**asdict(self), "mean": list(self.mean), "std": list(self.std), "views": self.views.as_dict()}
        if self.bits is None:
            del values["bits"]
        return values

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> PreprocessSpec:
        """Rebuild from `as_dict` or ``dataclasses.asdict``.

        Parameters
        ----------
        fields : mapping
            Also after a way through JSON, which makes lists of tuples.

        Returns
        -------
        PreprocessSpec
            What was given out.
        """
        views = Views(**fields.get("views", {}))
        return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"]), "views": views})


@dataclass(frozen=True)
class BackboneConfig:
    """How a backbone is looked up: its weights and its preprocessing.

    Parameters
    ----------
    weights : str
        ``DEFAULT``, one of torchvision's names, ``random:SEED``, a ``.pth`` or ``.safetensors`` file, or ``run:ID``.
    stem : str, optional
        ``cifar``: a torchvision ResNet gets a 3 x 3 convolution with stride 1 first, and no max pooling.
    size : int, optional
        Input size in px; None as the weights were trained.
    mean, std : sequence of float, optional
        One value per channel, or one for all, in units of 0..1; None as the weights were trained.
    resize : str, optional
        ``crop``, ``squash``, ``pad`` or ``none``, see `PreprocessSpec.fit`; None as the weights were trained.
    interpolation : str, optional
        ``bilinear`` or ``bicubic``; None as the weights were trained.
    bits : int, optional
        Significant bits of 16-bit images, 8 to 16; None as the files say, else all.
    views : Views
        Which views of an image are averaged.

    Raises
    ------
    OptionError
        For other values.
    """

    weights: str = "DEFAULT"
    stem: Stem | None = None
    size: int | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    resize: Resize | None = None
    interpolation: Interpolation | None = None
    bits: int | None = None
    views: Views = Views()

    def __post_init__(self) -> None:
        if self.stem is not None:
            check_choice("stem", self.stem, STEMS)
        if self.resize is not None:
            check_choice("resize", self.resize, RESIZES)
        if self.interpolation is not None:
            check_choice("interpolation", self.interpolation, INTERPOLATIONS)
        for name, values in (("mean", self.mean), ("std", self.std)):
            object.__setattr__(self, name, None if values is None else checked_numbers(name, values))
        check_bits(self.bits)


@dataclass(frozen=True)
class ExtractConfig:
    """How features are computed.

    `workers` and `on_error` change no values. `batch_size`, `device` and the number of threads affect rounding, because
    sums are computed in another order: in fp32 by up to a few 1e-6 of a layer's largest value (DenseNet, MaxViT, HRNet,
    ...), in bf16 and fp16 by their coarser rounding. Stored features are found whatever these three are: an entry keeps
    the batch size it was started with, except for rows copied from another entry and where memory runs out.

    Parameters
    ----------
    precision : str
        Precision of the arithmetic: ``fp32``, ``bf16`` or ``fp16``.
    dtype : str
        Type of the stored values: ``float32`` or ``float16``.
    batch_size : int, optional
        Images per forward pass; None takes 64, and up to 256 of small images.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    workers : int, optional
        Threads that decode; None uses one per available processor.
    on_error : str
        ``raise``, or ``skip`` to leave out images that cannot be decoded.

    Raises
    ------
    OptionError
        For other values.
    """

    precision: Precision = "fp32"
    dtype: Dtype = "float32"
    batch_size: int | None = None
    device: str = "auto"
    workers: int | None = None
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("dtype", self.dtype, DTYPES)
        check_choice("on-error", self.on_error, ON_ERROR)
        if self.batch_size is not None:
            check_count("batch-size", self.batch_size)
        if self.workers:
            check_count("workers", self.workers)
