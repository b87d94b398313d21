"""What a user asks for, as frozen values. Every default of featx stands here, once."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from featx.checks import check_choice, check_count, check_positive, check_range
from featx.errors import OptionError

SCHEMA = 1
"""Version of the key and of the files that the store writes."""

PRECISIONS = ("fp32", "bf16", "fp16")
DTYPES = ("float32", "float16")
MODES = ("scratch", "frozen", "finetune")
AUGMENTS = ("none", "flip", "crop-flip")
RESIZES = ("crop", "squash", "pad", "none")
INTERPOLATIONS = ("bilinear", "bicubic")
ON_ERROR = ("raise", "skip")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Progress = Callable[[str, int, int], None]
"""Called with (stage, images done, images in all); the command line draws it."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Report nothing."""


def canonical_json(value: Any) -> bytes:
    """Return JSON with one spelling a value: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a value's length-prefixed canonical JSON, in hexadecimal."""
    text = canonical_json(value)
    return hashlib.sha256(b"%d:" % len(text) + text).hexdigest()


@dataclass(frozen=True)
class LayerSpec:
    """A node of a network and how its activation becomes one row.

    Parameters
    ----------
    node : str
        A module path (``layer3``, ``features.30``) or one of torchvision's graph nodes (``layer1.0.add``); or several
        of them: ``all``, or a pattern in which ``*`` and ``?`` stand for anything but a dot (``layer*``).
    pool : str
        ``flat`` (every value), ``avg``, ``max`` (over space or tokens), ``avgN`` (an N x N grid of means) or
        ``cls`` (the class token).

    Examples
    --------
    >>> str(LayerSpec.parse("layer3:avg"))
    'layer3:avg'
    """

    node: str
    pool: str = "flat"

    _NODE: ClassVar = re.compile(r"[A-Za-z0-9_*?]+(\.[A-Za-z0-9_*?]+)*")
    _POOL: ClassVar = re.compile(r"flat|avg([2-9]|[1-9][0-9]{1,2})?|max|cls")

    def __post_init__(self) -> None:
        if not self._NODE.fullmatch(self.node):
            raise OptionError(
                f"layer {self.node[:80]!r} is no node name, expected letters, digits, '_' and '.', or '*' and '?'",
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
        """Read ``NODE`` or ``NODE:POOLING``; the inverse of ``str``."""
        node, colon, pool = text.partition(":")
        if not colon:
            return cls(node)
        return cls(node, "avg" if pool == "avg1" else pool)

    def __str__(self) -> str:
        return self.node if self.pool == "flat" else f"{self.node}:{self.pool}"

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for several nodes."""
        return self.node == "all" or "*" in self.node or "?" in self.node

    def matches(self, name: str) -> bool:
        """Tell whether a pattern means a node: ``layer*`` means ``layer1``, and not ``layer1.0``."""
        if self.node == "all":
            return True
        pattern = re.escape(self.node).replace(r"\*", "[^.]*").replace(r"\?", "[^.]")
        return re.fullmatch(pattern, name) is not None

    @property
    def grid(self) -> int:
        """N of ``avgN``; 1 for ``avg``."""
        return int(self.pool[3:] or 1) if self.pool.startswith("avg") else 0


@dataclass(frozen=True)
class PreprocessSpec:
    """How a decoded image becomes a network's input.

    With ``crop``, the shorter side is resized to `resize` px, the centre `crop` x `crop` px cut out, values scaled to
    0..1, then ``(value - mean) / std`` a channel: torchvision's ``ImageClassification`` preset, step for step.

    Parameters
    ----------
    resize, crop : int or None
        Pixels. None leaves the image as it is: all images must then have one size.
    fit : str
        How an image that is not square becomes so: ``crop`` as above; ``squash`` to `crop` x `crop` px whatever its
        shape; ``pad`` resizes the longer side to `crop` px and puts black beside the shorter one; ``none`` leaves
        the size alone.
    channels : int
        3 (RGB) or 1 (grey).
    mean, std : tuple of float
        One value a channel, in units of 0..1.
    interpolation : str
        ``bilinear`` or ``bicubic``, with Pillow's antialiasing.
    decoder, resizer : str
        Name and version of the algorithm, raised when a release changes pixels.
    """

    resize: int | None
    crop: int | None
    channels: int = 3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bilinear"
    fit: str = "crop"
    decoder: str = "pillow-upright-1"
    resizer: str = "pillow-antialias-1"

    def __post_init__(self) -> None:
        sizes: dict[str, Any] = {"resize": self.resize, "crop": self.crop}
        for name, px in sizes.items():
            if px is not None and not (isinstance(px, numbers.Integral) and 1 <= int(px) <= 16384):
                raise OptionError(f"{name} of {px} px, expected 1 to 16384", "give another --size")
            object.__setattr__(self, name, None if px is None else int(px))
        if self.channels not in (1, 3):
            raise OptionError(f"{self.channels} channels, expected 3 (RGB) or 1 (grey)")
        check_choice("interpolation", self.interpolation, INTERPOLATIONS)
        check_choice("resize", self.fit, RESIZES)
        if self.fit == "none" and (self.resize, self.crop) != (None, None):
            raise OptionError("--resize none leaves the size alone, and a size was given", "leave one of them out")
        # One spelling a value, as the digest needs it: (0, 0, 0) is (0.0, 0.0, 0.0).
        for name, values in (("mean", self.mean), ("std", self.std)):
            object.__setattr__(self, name, tuple(float(value) for value in values))
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise OptionError(
                f"mean has {len(self.mean)} and std {len(self.std)} values for {self.channels} channel(s)",
                "give one value a channel to --mean and --std",
            )
        if not all(map(math.isfinite, self.mean)):
            raise OptionError(f"mean {self.mean} is not finite", "give finite values to --mean")
        if not all(0 < s < math.inf for s in self.std):
            raise OptionError(f"std {self.std} is not positive", "give positive values to --std")

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> PreprocessSpec:
        """Rebuild from ``dataclasses.asdict`` after a way through JSON."""
        return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})


@dataclass(frozen=True)
class FeatureKey:
    """Everything that a stored feature's value depends on; its digest names the folder.

    Batch size, device, workers, paths, ids, labels and splits are recorded beside it and are no part of it.

    Parameters
    ----------
    rows : str
        SHA-256 over the row hashes in order (`Source.fingerprint`).
    n_rows : int
        Number of rows.
    backbone, options : str, dict
        The network's name and its builder's options.
    weights : str
        SHA-256 over the weight tensors.
    layer : str
        ``str(LayerSpec)``.
    preprocess : dict
        ``dataclasses.asdict(PreprocessSpec)``.
    precision, dtype : str
        Of the arithmetic, and of the stored values.
    code : str or None
        SHA-256 of a user's own network code.
    """

    rows: str
    n_rows: int
    backbone: str
    weights: str
    layer: str
    preprocess: dict[str, Any]
    precision: str = "fp32"
    dtype: str = "float32"
    options: dict[str, Any] = field(default_factory=dict)
    code: str | None = None
    schema: int = SCHEMA

    def as_dict(self) -> dict[str, Any]:
        """Return the key as JSON-able values."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """SHA-256 of the key, in hexadecimal."""
        return digest_of(self.as_dict())


@dataclass(frozen=True)
class ExtractConfig:
    """How features are computed; ``batch_size``, ``device`` and ``workers`` do not change what they are."""

    weights: str = "DEFAULT"
    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: str | None = None
    interpolation: str | None = None
    precision: str = "fp32"
    dtype: str = "float32"
    batch_size: int = 64
    device: str = "auto"
    workers: int | None = None
    on_error: str = "raise"

    def __post_init__(self) -> None:
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("dtype", self.dtype, DTYPES)
        if self.resize is not None:
            check_choice("resize", self.resize, RESIZES)
        if self.interpolation is not None:
            check_choice("interpolation", self.interpolation, INTERPOLATIONS)
        check_choice("on-error", self.on_error, ON_ERROR)
        check_count("batch-size", self.batch_size)
        if self.workers:
            check_count("workers", self.workers)


@dataclass(frozen=True)
class FitConfig:
    """Softmax regression as `featx fit` runs it.

    ``C`` multiplies the summed log loss against ``||W||^2 / 2``, as in scikit-learn; ``tol`` bounds the
    scale-free gradient norm.
    """

    C: float = 1.0
    standardize: bool = True
    fit_intercept: bool = True
    tol: float = 3e-5
    max_iter: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive("C", self.C)
        check_positive("tol", self.tol)
        check_count("max-iter", self.max_iter)
        check_count("seed", self.seed, least=0)


@dataclass(frozen=True)
class TrainConfig:
    """End-to-end training. ``lr`` and ``augment`` of None take the mode's own default (`LR`, `AUGMENT`)."""

    mode: str = "finetune"
    head: str = "linear"
    epochs: int = 10
    batch_size: int = 64
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: str | None = None
    precision: str = "fp32"
    device: str = "auto"
    seed: int = 0

    LR: ClassVar = {"scratch": 0.05, "frozen": 0.1, "finetune": 0.01}
    AUGMENT: ClassVar = {"scratch": "crop-flip", "frozen": "none", "finetune": "crop-flip"}

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, MODES)
        check_choice("precision", self.precision, PRECISIONS)
        check_range("momentum", self.momentum, below=1)
        check_range("weight-decay", self.weight_decay)
        check_count("seed", self.seed, least=0)
        check_count("epochs", self.epochs)
        check_count("batch-size", self.batch_size)
        if self.lr is not None:
            check_positive("lr", self.lr)
        if self.augment is not None:
            check_choice("augment", self.augment, AUGMENTS)
