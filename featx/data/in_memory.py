"""What callers hold in memory - arrays, PIL images, torch tensors - as uint8 images with their channels last."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from featx.core.validation import check_bits
from featx.data.arrays import ArraySource, check_images
from featx.data.decoding import Pixels, held
from featx.data.remarks import Remarks
from featx.errors import FeatxWarning, OptionError, SourceError

SURE = (1, 3)
"""Counts of channels that tell their axis: no image is so small."""

TO_UINT8 = "(255 * x).round().to(torch.uint8)"


def is_tensor(X: object) -> bool:
    """Tell a torch tensor, without loading torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(X, torch.Tensor)


def is_image(X: object) -> bool:
    """Tell one image, or several in one array or tensor, from anything else."""
    return isinstance(X, Image.Image) or is_tensor(X) or (isinstance(X, np.ndarray) and X.dtype.kind not in "UOS")


def images_in(X: Any, channels: int | None = None) -> Pixels:
    """Return several images in one array or tensor as uint8 (n, H, W, C).

    Parameters
    ----------
    X : ndarray or Tensor, shape (n, H, W), (n, H, W, C) or (n, C, H, W)
        An array of uint8, or a tensor of uint8 or of floating-point numbers from 0 to 1.
    channels : int, optional
        C, where it is known.

    Raises
    ------
    OptionError, SourceError
        For other shapes and values; for shapes that could be either.
    """
    values, what = _values(X)
    if values.ndim == 4:
        return _channels_last(values, what, channels, "images")
    if values.ndim == 3 and (values.shape[2] == 3 or (is_tensor(X) and values.shape[0] == 3)):
        raise OptionError(
            f"{what} of shape {values.shape} is either one colour image or {len(values)} grey ones",
            "give x[None] for one image, x[:, None] for grey ones" if is_tensor(X) else "give x[None], or x[..., None]",
        )
    check_images("array", values.dtype, values.shape)
    return values[..., None]


def listed(items: Sequence[Any], channels: int | None = None, bits: int | None = None) -> ArraySource:
    """Return a list of images, each an array, a tensor or a PIL image, as a source; their sizes may differ.

    Parameters
    ----------
    channels : int, optional
        How many they have, where it is known.
    bits : int, optional
        How many bits of PIL images of 16 bits count; else all, or as their files say that were not read yet.

    Raises
    ------
    OptionError, SourceError
        For one that is no image; says which.
    """
    check_bits(bits)
    remarks = Remarks()
    images = [
        _of_pillow(item, str(i), bits, remarks) if isinstance(item, Image.Image) else _one(item, f"image {i}", channels)
        for i, item in enumerate(items)
    ]
    counts = sorted({image.shape[2] for image in images})
    if counts == [1, 3]:
        images = [np.repeat(image, 3, 2) if image.shape[2] == 1 else image for image in images]
    elif len(counts) > 1:
        raise OptionError(
            f"images have {' and '.join(map(str, counts))} channels, expected the same number in each", "convert them"
        )
    alike = len({image.shape for image in images}) == 1
    made = (
        ArraySource(np.stack(images), channels=channels) if alike else RaggedSource(_objects(images), channels=channels)
    )
    made.bits = bits if any(isinstance(item, Image.Image) for item in items) else None
    return made


class RaggedSource(ArraySource):
    """Images of several sizes in memory."""

    def _check(self, images: npt.NDArray[Any], channels: int | None) -> int:
        for i, image in enumerate(images):
            check_images(f"image {i}", image.dtype, (1, *image.shape), channels)
        return int(images[0].shape[2]) if len(images) else 3


def _objects(images: Sequence[Pixels]) -> npt.NDArray[Any]:
    found = np.empty(len(images), object)
    for i, image in enumerate(images):
        found[i] = image
    return found


def _one(item: Any, what: str, channels: int | None) -> Pixels:
    """Return one image as uint8 (H, W, C)."""
    if not is_image(item):
        raise OptionError(
            f"{what} is a {type(item).__name__}, expected an array, a PIL image or a tensor, as the first one is",
            "give images of one kind, or paths alone",
        )
    values, _ = _values(item)
    if values.ndim == 2:
        return values[..., None]
    if values.ndim != 3:
        raise OptionError(f"{what} has shape {values.shape}, expected (H, W), (H, W, C) or (C, H, W)", "give one image")
    image: Pixels = _channels_last(values[None], what, channels, "image")[0]
    return image


def _of_pillow(image: Image.Image, name: str, bits: int | None, remarks: Remarks) -> Pixels:
    """Return a PIL image as a file of it would be decoded: upright; grey where it is."""
    try:
        return held(image, name, bits, remarks)
    except ValueError as exc:
        hint = "scale its values to 8 or 16 bits" if image.mode[0] in "IF" else "image.convert('RGB')"
        raise OptionError(f"image {name} is a PIL image of mode {image.mode}: {exc}", hint) from exc


def _values(X: Any) -> tuple[Pixels, str]:
    """Return an array's or tensor's values, those of a tensor as uint8, and what to call it."""
    if is_tensor(X):
        return _of_tensor(X), "a tensor"
    if X.dtype != np.uint8:
        raise SourceError(
            f"images are an array of {X.dtype} and shape {X.shape}, expected uint8 with values 0 to 255",
            "convert it, for example (255 * x).astype('uint8')",
        )
    return X, "an array"


def _of_tensor(x: Any) -> Pixels:
    import torch

    if x.layout != torch.strided:
        raise OptionError(f"images are a tensor of layout {x.layout}, expected a dense one", "give x.to_dense()")
    x = x.detach().cpu()
    if x.dtype == torch.uint8:
        return np.asarray(x)
    if not x.is_floating_point():
        raise OptionError(
            f"images are a tensor of {x.dtype}, expected uint8, or floats from 0 to 1",
            "give 255 * x.to(torch.uint8)" if x.dtype == torch.bool else "give x.to(torch.uint8)",
        )
    if x.numel() and not (x.min() >= 0 and x.max() <= 1):  # NaN too
        raise OptionError(
            f"images are a tensor of {x.dtype} from {x.min():.3g} to {x.max():.3g}, expected uint8, or floats from 0 "
            "to 1",
            "give them without normalisation, which featx does itself; floats from 0 to 255: x.round().to(torch.uint8)",
        )
    levels = 255 * x.double()
    rounded = levels.round()
    # What torchvision made of 8 bits comes back as it was, within the precision of its type.
    if x.numel() and (levels - rounded).abs().max() > max(1e-3, 128 * torch.finfo(x.dtype).eps):
        warnings.warn(
            "images are floats that are not multiples of 1/255: they are rounded to 256 grey levels, as "
            f"{TO_UINT8} does", FeatxWarning, stacklevel=5,
        )  # fmt: skip
    return np.asarray(rounded.to(torch.uint8))


def _channels_last(values: Pixels, what: str, channels: int | None, kind: str) -> Pixels:
    """Return images (n, H, W, C), whether they are that already or (n, C, H, W)."""
    if channels not in values.shape[1::2]:  # what they have is for others to compare
        channels = None
    first, last = (_may_be_channels(values.shape, axis, channels) for axis in (1, 3))
    shape = values.shape if kind == "images" else values.shape[1:]
    if first == last:
        raise OptionError(
            f"{what} of shape {shape} may have its channels first or last",
            "featx.data.arrays.ArraySource(x) takes uint8 with the channels last, without this check",
        )
    if first:
        values = np.ascontiguousarray(np.moveaxis(values, 1, 3))
    check_images(what.removeprefix("an ").removeprefix("a "), values.dtype, values.shape, channels)
    return values


def _may_be_channels(shape: tuple[int, ...], axis: int, channels: int | None) -> bool:
    """Tell whether an axis may be that of the channels: by their number, else since both sides are longer."""
    if channels is not None and channels not in SURE:
        return shape[axis] == channels
    if any(n in SURE for n in (shape[1], shape[3])):
        return shape[axis] in SURE
    return shape[axis] < min(shape[2], shape[4 - axis])
