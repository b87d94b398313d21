"""WebDataset's tars: members whose paths are equal up to the first dot of the name are one sample, image and label."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any

import numpy as np

from featx.cache.memo import Memo
from featx.cache.schema import unreadable
from featx.core.file_stamps import is_settled
from featx.data.blob import Blob
from featx.data.decoding import image_suffixes
from featx.data.depth import DIGEST, content_digest
from featx.data.files import MAX_FILE_BYTES, Hashes, check_size
from featx.data.folder_layout import Layout, Row, arrange
from featx.data.litter import is_litter
from featx.data.parquet_columns import LABEL_NAMES
from featx.data.shard_names import shard_ids, split_shards
from featx.data.tar_members import tar_members
from featx.errors import ImageError, SourceError

LABELS = ("cls", "json", "txt")
"""Endings of members that may hold a label; the first that any sample of a source has counts for all."""

JSON_LABELS = ("label", "cls", *LABEL_NAMES[1:])
"""Fields of a ``.json`` member that may be the label; the first that is a whole number or a text counts."""

MAX_LABEL_BYTES = 1 << 20
"""Largest member that is looked into for a label."""

MAX_LABEL = 100
"""Characters of a label at most: a longer text is a caption."""

_READER = 1
"""Rises when shards are indexed otherwise: what was remembered before counts no more."""

_INDEX_THREADS = 8


@dataclass
class Sample:
    """One key of a shard: where its image lies, the SHA-256 of its content in hexadecimal, and what may be labels."""

    key: str
    image: str = ""
    place: tuple[int, int] = (0, 0)
    digest: str = ""
    labels: dict[str, str] = field(default_factory=dict)


class ShardFiles:
    """The images of shards, called as their rows are: ``shard-000000/cat/0001``.

    Parameters
    ----------
    where : str
        The source, for errors.
    blobs : sequence of Blob
        The shards.
    places : mapping of str to (int, int, int, bytes)
        By name: the shard's number, offset and size of the image in it, and the SHA-256 of its content.
    """

    def __init__(self, where: str, blobs: Sequence[Blob], places: Mapping[str, tuple[int, int, int, bytes]]) -> None:
        self.where, self._blobs, self._places = where, blobs, places
        self.in_flight = max(blob.in_flight for blob in blobs)

    def names(self) -> list[str]:
        """Return every image's name."""
        return list(self._places)

    def read(self, name: str) -> bytes:
        """Return an image's content; ImageError where it cannot be had, SourceError where its shard changed."""
        shard, offset, size, _ = self._places[name]
        check_size(name, size)
        data = self._blobs[shard].read(offset, size) if size >= 0 else b""
        if len(data) != size:
            what = _bad(name)
            raise ImageError(f"{what}, in {self._blobs[shard].where}", "write the shard again", reason=what)
        return data

    def hashes(self, names: Sequence[str]) -> Hashes:
        """Return the SHA-256 of each image's content, uint8 (n, 32): found out when its shard was indexed."""
        return np.frombuffer(b"".join(self._places[name][3] for name in names), np.uint8).reshape(-1, 32)


def _bad(name: str) -> str:
    return f"image {name} is no ordinary file, too large or cut off"


def open_shards(spec: str, blobs: Sequence[Blob], memo: Memo | None) -> tuple[ShardFiles, Layout]:
    """Open WebDataset's shards as one source.

    A row's id is its shard's name without ``.tar``, from the folder on that holds all of them, and its key. Splits are
    what the shards' folders or the beginnings of their names say: ``train/0000.tar``, ``val-000000.tar``.

    Parameters
    ----------
    spec : str
        How the source was written, without secrets.
    blobs : sequence of Blob
        The shards, in order.
    memo : Memo, optional
        Remembers what was found in each.

    Raises
    ------
    SourceError
        For a shard that is no readable tar, a sample with several images, and where there is no image at all.
    """
    ids = shard_ids([f"{blob.folder.rstrip('/')}/{blob.name}" for blob in blobs])
    splits = split_shards(spec, ids)
    with ThreadPoolExecutor(min(_INDEX_THREADS, len(blobs)), "featx-index") as pool:
        found = list(pool.map(lambda blob: _samples(blob, memo), blobs))
    if not any(found):
        raise SourceError(
            f"{spec} holds no images in {len(blobs)} tars", "expected members such as 0001.jpg and 0001.cls"
        )
    kind = next((kind for kind in LABELS if _is_labelled(found, kind)), None)
    rows: dict[str, list[Row]] = {}
    places: dict[str, tuple[int, int, int, bytes]] = {}
    for number, (shard, samples) in enumerate(zip(ids, found, strict=True)):
        for sample in samples:
            name = f"{shard}/{sample.key}"
            digest = bytes.fromhex(sample.digest) or unreadable(_bad(name))
            places[name] = number, *sample.place, digest
            label = sample.labels.get(kind) if kind else None
            rows.setdefault(splits[number], []).append(Row(name, name, label or None))
    return ShardFiles(spec, blobs, places), _arranged(rows, found)


def _arranged(rows: dict[str, list[Row]], found: Sequence[Sequence[Sample]]) -> Layout:
    layout = arrange(rows)
    classes = layout.classes
    if classes and all(re.fullmatch(r"-?[0-9]+", name) for name in classes):
        classes = tuple(sorted(classes, key=int))
    captions = any("txt" in sample.labels for samples in found for sample in samples)
    said = "its .txt members are captions, not labels; " if captions else ""
    return Layout(layout.splits, classes, "" if classes else f"{said}add a .cls member with the class to each sample")


def _is_labelled(found: Sequence[Sequence[Sample]], kind: str) -> bool:
    labels = [label for samples in found for sample in samples if (label := sample.labels.get(kind))]
    # Texts of which nearly each is another one describe images; they do not class them.
    return bool(labels) and (kind != "txt" or 2 * len(set(labels)) <= len(labels))


def _samples(blob: Blob, memo: Memo | None) -> list[Sample]:
    """Return the samples of a shard, in its order; it is read once, and remembered under its stamp."""
    about = {"stamp": blob.stamp, "reader": _READER, "digest": DIGEST}
    known = memo.get("webdataset", about) if memo else None
    if known is not None:
        return [
            Sample(key, image, (offset, size), digest, labels) for key, image, offset, size, digest, labels in known
        ]
    found = _Index(blob.where)
    try:
        with blob.open() as file:
            tar_members(file, partial(found.add, file))
    except SourceError:
        raise
    # tarfile passes on whatever its parsers meet.
    except Exception as exc:
        reason = " ".join(str(exc).split())[:200] or type(exc).__name__
        raise SourceError(f"shard {blob.where} is not a readable tar: {reason}", "copy or download it again") from exc
    samples = found.with_images()
    if memo and is_settled(blob.stamp) and not found.has_bad and blob.is_unchanged():
        memo.put("webdataset", about, [[s.key, s.image, *s.place, s.digest, s.labels] for s in samples])
    return samples


class _Index:
    """The samples of one shard, as its members come."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._samples: dict[str, Sample] = {}
        self._suffixes = tuple(suffix.removeprefix(".") for suffix in image_suffixes())
        self.has_bad = False

    def add(self, file: IO[bytes], name: str, place: list[int]) -> None:
        """Take a member; `file` is the shard."""
        folder, slash, base = name.rpartition("/")
        stem, _, ending = base.partition(".")
        if not stem or any(map(is_litter, name.split("/"))):
            return
        if name.split("/")[0] == "..":
            raise SourceError(f"shard {self._where} holds {name[:200]}, which leads out of it", "write it without ..")
        sample = self._samples.setdefault(folder + slash + stem, Sample(folder + slash + stem))
        ending = ending.lower()
        if ending.rpartition(".")[2] in self._suffixes:
            self._add_image(sample, name, ending, place, file)
        elif ending in LABELS and len(place) == 2 and place[1] <= MAX_LABEL_BYTES:
            label = _READERS[ending](_content(file, place))
            if label is not None:
                sample.labels[ending] = label

    def _add_image(self, sample: Sample, name: str, ending: str, place: list[int], file: IO[bytes]) -> None:
        if sample.image and sample.image != name:
            # A mask beside its image has two dots: 1.jpg and 1.seg.png.
            is_plain, was_plain = "." not in ending, "." not in _ending(sample.image)
            if is_plain == was_plain:
                raise SourceError(
                    f"sample {sample.key} of shard {self._where} has several images: {sample.image} and {name}",
                    "expected one for each key; name the others with two dots, such as 1.seg.png",
                )
            if was_plain:
                return
        sample.image = name
        if len(place) == 2 and 0 <= place[1] <= MAX_FILE_BYTES:
            sample.place = place[0], place[1]
            sample.digest = content_digest(_content(file, place)).hex()
        else:
            self.has_bad = True
            sample.place = (0, -1) if len(place) != 2 else (place[0], place[1])
            sample.digest = ""

    def with_images(self) -> list[Sample]:
        """Return the samples that have an image."""
        return [sample for sample in self._samples.values() if sample.image]


def _ending(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2]


def _content(file: IO[bytes], place: Sequence[int]) -> bytes:
    file.seek(place[0])
    data = file.read(place[1])
    if len(data) != place[1]:
        raise ValueError("it is cut off")
    return data


def _class(data: bytes) -> str | None:
    """Return a ``.cls`` member's class: a name, or a number, which is spelt in one way."""
    text = _text(data)
    return str(int(text)) if text and re.fullmatch(r"[+-]?[0-9]{1,18}", text) else text


def _text(data: bytes) -> str | None:
    """Return a short line of text; '' for a longer one, and for several."""
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return None
    return text if len(text) <= MAX_LABEL and text.isprintable() else ""


def _json_label(data: bytes) -> str | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return _scalar(value)
    return next((label for name in JSON_LABELS if (label := _scalar(value.get(name)))), None)


def _scalar(value: Any) -> str | None:
    is_one = isinstance(value, (int, str)) and not isinstance(value, bool)
    return str(value).strip()[: MAX_LABEL + 1] or None if is_one and len(str(value)) <= MAX_LABEL else None


_READERS: Mapping[str, Callable[[bytes], str | None]] = {"cls": _class, "json": _json_label, "txt": _text}
"""What finds the label in a member, by its ending: None where there is none."""


def is_webdataset(names: Sequence[str], images: Sequence[str]) -> bool:
    """Tell the members of a shard from those of an archive of class folders, by the labels beside the images.

    Class folders stay what they are, whatever lies beside their images.
    """
    if any("/" in name for name in images):
        return False
    keys = {_key(name) for name in images}
    labelled = {key for name in names if name.endswith((".cls", ".json")) and (key := _key(name)) in keys}
    return any(name.endswith(".cls") and _key(name) in keys for name in names) or 2 * len(labelled) > len(keys) > 0


def _key(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]
