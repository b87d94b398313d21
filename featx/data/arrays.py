"""Sources that are arrays: scikit-learn's digits, ``.npz`` files, and what a caller hands over."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from featx.cache.schema import fingerprint
from featx.core.paths import expanded
from featx.core.specs import PreprocessSpec
from featx.data.decoding import Pixels
from featx.data.zip_members import check_readable
from featx.errors import SourceError

Labels = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint8]


class ArraySource:
    """Images in one uint8 array.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, H, W) or (n, H, W, C)
        C of 1 (grey), 3 (RGB), or 5 and more for networks that take that many.
    labels : ndarray of int64, optional
        Positions in `classes`; -1 for none.
    ids : sequence of str, optional
        Row numbers where absent.
    channels : int, optional
        What C is known to be; 2 and 4, which look like transparency, are refused without.

    Raises
    ------
    SourceError
        For another type or shape.
    """

    unlabelled = "add labels to the images, for example np.savez(path, X=images, y=labels)"
    """What would give labels, where there are none."""

    def __init__(
        self,
        images: npt.NDArray[Any],
        labels: Labels | None = None,
        *,
        classes: tuple[str, ...] = (),
        ids: Sequence[str] | None = None,
        spec: str = "array",
        split: str = "all",
        channels: int | None = None,
    ) -> None:
        if images.ndim == 3:
            images = images[..., None]
        self.spec = spec
        self.channels = self._check(images, channels)
        self.images: Pixels = images
        self.bits: int | None = None  # how many counted of those images that had 16
        self.split = split
        self.classes = classes
        self.labels: Labels = np.full(len(images), -1, np.int64) if labels is None else labels
        self.ids: Sequence[str] = [f"{i:06d}" for i in range(len(images))] if ids is None else list(ids)
        if not len(images) == len(self.labels) == len(self.ids):
            raise SourceError(
                f"{spec}: {len(images)} images, {len(self.labels)} labels and {len(self.ids)} ids, "
                "expected the same number of each"
            )

    def _check(self, images: npt.NDArray[Any], channels: int | None) -> int:
        """Return the number of channels; SourceError for what are no images."""
        check_images(self.spec, images.dtype, images.shape, channels)
        return int(images.shape[3])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Pixels, int | None]:
        return self.images[i], label_of(self.labels[i])

    def row_hashes(self) -> Hashes:
        """Return the SHA-256 of each row's content, uint8 (n, 32)."""
        digests = b"".join(hash_image(image) for image in self.images)
        return np.frombuffer(digests, np.uint8).reshape(-1, 32)

    def fingerprint(self) -> str:
        """Return the SHA-256 over the row hashes in order."""
        return fingerprint(self.row_hashes())

    def subset(self, rows: Labels) -> ArraySource:
        """Return a source of these rows, in this order."""
        part = type(self)(
            self.images[rows],
            self.labels[rows],
            classes=self.classes,
            ids=[self.ids[i] for i in rows],
            spec=self.spec,
            split=self.split,
            channels=self.channels,
        )
        part.bits = self.bits
        return part


TRANSPARENT = (2, 4)
"""Channels of grey or colour and transparency: what else they may be has to be said."""


def check_images(spec: str, dtype: np.dtype[Any], shape: tuple[int, ...], channels: int | None = None) -> None:
    """Raise SourceError unless an array of this type and shape holds images; known before it is read.

    Parameters
    ----------
    channels : int, optional
        What the images are known to have.
    """
    if len(shape) == 3:
        shape = (*shape, 1)
    sound = dtype == np.uint8 and len(shape) == 4 and 0 not in shape[1:]
    likely = sound and shape[3] not in TRANSPARENT and shape[3] <= PreprocessSpec.MOST_CHANNELS
    if sound and (shape[3] in (1, 3, channels) or (likely and shape[1] not in (1, 3))):
        return
    raise SourceError(
        f"{spec}: images are {dtype} of shape {shape}, expected uint8 (n, H, W), "
        "(n, H, W, 1) or (n, H, W, 3) with values 0 to 255",
        _mended(shape) if sound else "convert them, for example (255 * x).astype('uint8')",
    )


def _mended(shape: tuple[int, ...]) -> str:
    """Say what to do with uint8 images of another number of channels."""
    if shape[3] in TRANSPARENT:
        return f"drop the alpha channel: x[..., :{shape[3] - 1}]"
    return "put the channels last: np.moveaxis(x, 1, 3)"


def hash_image(image: Pixels) -> bytes:
    """Return the SHA-256 of one image's shape and values."""
    return hashlib.sha256(b"uint8:%d:%d:%d:" % image.shape + image.tobytes()).digest()


def label_of(value: np.int64) -> int | None:
    """Return a label, or None where the row has none."""
    return None if value < 0 else int(value)


def digits(spec: str, memo: object) -> dict[str, ArraySource]:
    """Open scikit-learn's 1,797 handwritten digits, 8 x 8 px, grey."""
    from sklearn.datasets import load_digits  # heavy, and only this source needs it

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)
    ids = [f"digits/{i:04d}" for i in range(len(images))]
    names = tuple(str(name) for name in data.target_names)
    return {"all": ArraySource(images, data.target.astype(np.int64), classes=names, ids=ids, spec=spec)}


def npz(spec: str, memo: object) -> dict[str, ArraySource]:
    """Open the arrays of an ``.npz`` file: ``X`` and ``y``, or ``X_train``, ``y_train``, ...

    ``images``/``labels`` and ``train_images``/``train_labels`` are understood too; ``classes`` and ``ids``
    may be there. Labels are integers or strings.
    """
    try:
        return split_arrays(spec, _npz_arrays(expanded(spec)))
    except SourceError:
        raise
    # numpy raises ValueError for pickles, SystemError for characters that are none; zipfile.BadZipFile, zlib.error, ...
    except Exception as exc:
        reason = " ".join(str(exc).split())[:200]
        raise SourceError(
            f"{spec} is not a readable .npz of plain arrays: {reason}", "save it again with np.savez"
        ) from exc


def split_arrays(spec: str, arrays: Mapping[str, Any], make: type[ArraySource] = ArraySource) -> dict[str, ArraySource]:
    """Find images, labels, classes and ids among named arrays, as `npz` says, and make a source a split."""
    named = tuple(_names(spec, arrays, "classes")) if "classes" in arrays else None
    parts = _find_parts(spec, arrays)
    classes, labels = _number(spec, {s: _npz_labels(spec, p.images, p.labels) for s, p in parts.items()}, named)
    ids = _names(spec, arrays, "ids") if "ids" in arrays and set(parts) == {"all"} else None
    return {
        split: make(
            part.images,
            labels[split],
            classes=classes,
            ids=[f"{part.name}/{i:06d}" for i in range(len(part.images))] if ids is None else ids,
            spec=spec,
            split=split,
            channels=bands(part.images.shape),
        )
        for split, part in parts.items()
    }


class _Part(NamedTuple):
    """One split's arrays, and the name that the images have among the others; labels as they stand there."""

    name: str
    images: Any
    labels: npt.NDArray[Any] | None


def _find_parts(spec: str, arrays: Mapping[str, Any]) -> dict[str, _Part]:
    """Return the splits that have images, by their arrays' names."""
    parts = {}
    for split in ("train", "val", "test", "all"):
        x_name = _pick(arrays, split, ("X", "x", "images", "data"))
        y_name = _pick(arrays, split, ("y", "Y", "labels", "targets"))
        if x_name:
            x = arrays[x_name]
            check_images(spec, x.dtype, x.shape, bands(x.shape))
            parts[split] = _Part(x_name, x, arrays[y_name] if y_name else None)
    if not parts:
        raise SourceError(
            f"{spec} holds the arrays {', '.join(sorted(arrays)) or 'none'}, expected X and y, "
            "or X_train, y_train, ...",
            "np.savez(path, X=images, y=labels)",
        )
    return parts


def _number(
    spec: str, given: Mapping[str, npt.NDArray[Any] | None], named: tuple[str, ...] | None
) -> tuple[tuple[str, ...], dict[str, Labels | None]]:
    """Return the class names, and each split's labels as positions in them.

    Parameters
    ----------
    given : mapping of str to ndarray or None
        Each split's labels.
    named : tuple of str, optional
        The class names, where the arrays hold some: the labels are positions already. Without them the classes are
        the sorted distinct labels of all splits together.
    """
    known = [y for y in given.values() if y is not None]
    if len({y.dtype.kind for y in known}) > 1:
        raise SourceError(f"{spec}: labels are integers in one split and strings in another, expected one kind")
    if named is not None:
        return named, {s: None if y is None else _in_range(spec, y, named) for s, y in given.items()}
    values = np.unique(np.concatenate(known)) if known else np.empty(0, str)
    numbers = {s: None if y is None else np.searchsorted(values, y).astype(np.int64) for s, y in given.items()}
    return tuple(str(value) for value in values), numbers


def bands(shape: tuple[int, ...]) -> int | None:
    """Return the channels of an array in a file: there they are what they are, transparency or not."""
    return int(shape[3]) if len(shape) == 4 and shape[3] in TRANSPARENT and shape[1] not in (1, 3) else None


def _npz_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for info in (archive.getinfo(name) for name in archive.namelist() if name.endswith(".npy")):
            check_readable(info)
            with archive.open(info) as member:
                arrays[info.filename.removesuffix(".npy")] = np.lib.format.read_array(member, allow_pickle=False)
                # np.load leaves it at that; the checksum is looked at where the member ends.
                if member.read(1):
                    raise ValueError(f"{info.filename} is longer than its header says")
    return arrays


def _names(spec: str, arrays: Mapping[str, Any], name: str) -> list[str]:
    values = arrays[name]
    if values.ndim != 1 or values.dtype.kind not in "iuU":
        raise SourceError(f"{spec}: {name} are {values.dtype} of shape {values.shape}, expected a list of strings")
    return [str(value) for value in _characters(spec, values)]


def _characters(spec: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return `values`; SourceError for strings with numbers that stand for no character, which numpy lets pass."""
    if values.dtype.kind == "U" and values.nbytes:
        codes = np.frombuffer(values.astype(values.dtype.newbyteorder("=")).tobytes(), np.uint32)
        if codes.max() > sys.maxunicode:
            raise SourceError(f"{spec}: strings contain the code {codes.max()}, expected characters", "make them again")
    return values


def _pick(arrays: Mapping[str, Any], split: str, names: Sequence[str]) -> str | None:
    spelled = names if split == "all" else [f"{n}_{split}" for n in names] + [f"{split}_{n}" for n in names]
    return next((name for name in spelled if name in arrays), None)


def _npz_labels(spec: str, x: npt.NDArray[Any], y: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
    if y is None:
        return None
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "iuU" or len(y) != len(x):
        raise SourceError(
            f"{spec}: labels are {y.dtype} of shape {y.shape} for {len(x)} images, expected one integer or string each"
        )
    # One type for all splits: numpy joins int64 and uint64 to floats.
    if y.dtype.kind == "u" and len(y) and y.max() > np.iinfo(np.int64).max:
        raise SourceError(f"{spec}: the label {y.max()} does not fit into a signed 64-bit integer")
    return _characters(spec, y) if y.dtype.kind == "U" else y.astype(np.int64)


def _in_range(spec: str, y: npt.NDArray[Any], classes: tuple[str, ...]) -> Labels:
    """Return labels; SourceError unless they are positions in `classes`, or -1 for none."""
    if y.dtype.kind != "i" or (len(y) and not -1 <= y.min() <= y.max() < len(classes)):
        raise SourceError(
            f"{spec}: labels are outside the {len(classes)} classes it names, expected 0 to {len(classes) - 1}"
        )
    return y
