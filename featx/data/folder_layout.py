"""What the names in a folder or archive say about splits and labels."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from featx.core.paths import expanded
from featx.core.urls import is_url
from featx.data.decoding import is_image_name
from featx.data.foreign_formats import no_images, no_labels
from featx.data.split_names import name_splits, split_of, splits_in
from featx.errors import FeatxWarning, SourceError, first_few


@dataclass(frozen=True, slots=True)
class Row:
    """One image: its name in the archive, its stable id, its class or None."""

    name: str
    id: str
    label: str | None


@dataclass(frozen=True)
class Layout:
    """Rows by split (``all`` where there are none), and the class names, sorted.

    `unlabelled` is what would give the rows labels, where none has one and it is known.
    """

    splits: dict[str, list[Row]]
    classes: tuple[str, ...]
    unlabelled: str = ""


def read_layout(names: list[str], read: Callable[[str], bytes], where: str, images: list[str] | None = None) -> Layout:
    """Understand a listing: Tiny-ImageNet's, ``train/ val/ test/``, class folders, or a flat folder.

    Parameters
    ----------
    names : list of str
        Every file's name, relative, sorted.
    read : callable
        Gives the content of a small text file among them.
    where : str
        What to call the place in an error.
    images : list of str, optional
        Those of them that are images; else those that are called so.

    Raises
    ------
    SourceError
        Where there is no image at all, split folders stand among others, or two of them mean the same.

    Warns
    -----
    FeatxWarning
        Where classes hold split folders, which are not told apart there.
    """
    if images is None:
        images = [name for name in names if is_image_name(name)]
    if not images:
        raise no_images(names, where)
    wrap = _wrapping_folders(images, where)
    short = {name.removeprefix(wrap): name for name in images}
    if wrap + "wnids.txt" in names and wrap + "val/val_annotations.txt" in names:
        splits = _tiny_imagenet(short, read(wrap + "val/val_annotations.txt"))
    elif named := _named_splits(short, where, wrap):
        splits = _split_folders(short, named)
    else:
        splits = {"all": [Row(name, key, _folder(key, 0)) for key, name in short.items()]}
        _warn_of_splits_below(short, where)
    found = arrange(splits)
    return found if found.classes else Layout(found.splits, (), no_labels(names))


def arrange(splits: dict[str, list[Row]]) -> Layout:
    """Put splits into their order and name the classes of all of them."""
    order = [s for s in ("train", "val", "test", "all") if s in splits]
    classes = sorted({row.label for rows in splits.values() for row in rows if row.label is not None})
    return Layout({s: splits[s] for s in order}, tuple(classes))


def _wrapping_folders(images: list[str], where: str) -> str:
    """Return the folders that wrap everything ('cifar10/', 'download/cifar10/'), or '' where there are none."""
    wrap = ""
    while more := _wrapping_folder(images):
        wrap += more
        images = [name.removeprefix(more) for name in images]
    _refuse_stray(images, f"{where}/{wrap}".rstrip("/"))
    return wrap


def _refuse_stray(images: list[str], where: str) -> None:
    """Raise SourceError for images beside the one folder that would wrap all others: it would become a class."""
    stray = [name for name in images if "/" not in name]
    others = [name for name in images if "/" in name]
    if stray and others and (wrap := _wrapping_folder(others)):
        more = f" and {len(stray) - 1:,} more" if len(stray) > 1 else ""
        raise SourceError(
            f"{where} holds the image {stray[0]}{more} next to one folder of folders, {wrap}",
            f"name {where}/{wrap.rstrip('/')}, or move the image elsewhere",
        )


def _wrapping_folder(images: list[str]) -> str:
    """Return the one folder that wraps everything ('cifar10/'), or '' where there is none."""
    top = images[0].split("/")[0]
    if not all(name.startswith(top + "/") for name in images):
        return ""
    splits = {split_of(folder) for folder in {name.split("/")[1] for name in images if name.count("/") > 1}} - {None}
    if split_of(top) and len(splits) < 2:
        return ""
    # One folder with the images directly inside is a class, not a wrapping.
    is_class = any(name.count("/") < 2 for name in images) and len(splits) < 2
    return "" if is_class else top + "/"


Folders = dict[str, set[str]]
"""The folders at the top, each with the folders in it."""

_LOOSE = "images without a folder"


def _folders(keys: Iterable[str]) -> Folders:
    found: Folders = {}
    for key in keys:
        top, *below = key.split("/")[:-1] or [_LOOSE]
        found.setdefault(top, set()).update(below[:1])
    return found


def _named_splits(keys: Collection[str], where: str, wrap: str) -> dict[str, str]:
    """Return what the folders at the top mean where all are splits; nothing where they are classes.

    SourceError where they are neither: ``train`` and ``test`` with company, a split beside what repeats its folders, a
    split of classes beside images without.
    """
    tops = _folders(keys)
    others = sorted(top for top in tops if split_of(top) is None)
    if not others:
        return name_splits(sorted(tops), where)
    found = {split for top in tops if (split := split_of(top))}
    # 'train' alone beside others may be a class of vehicles; two such names are no coincidence.
    if "train" in found and len(found) > 1:
        raise SourceError(
            f"{where} holds {' and '.join(sorted(found))} folders next to {', '.join(others)[:200]}: "
            "expected splits or classes, not both",
            "move what is not a split elsewhere",
        )
    top = expanded(where)
    place = None if is_url(where) or top.is_file() else top / wrap
    _refuse_repeated(tops, others, where, place)
    if not any(tops[other] for other in others):
        _refuse_beside_flat(keys, tops, others, where, place)
    return {}


def _refuse_repeated(tops: Folders, others: list[str], where: str, place: Path | None) -> None:
    """Raise SourceError for a folder that repeats a split's folders: it would become a class, and the split too."""
    for other in others:
        for top in tops:
            if _is_pair_of_splits(top, other) and (same := _repeated(tops[top], tops[other])):
                said = splits_in(other)
                why = f"it is not called {min(said)}" if len(said) == 1 else "its name does not say which one"
                raise SourceError(
                    f"{where} holds {other} next to {top}, with the same folders in it ({first_few(same)}): "
                    f"a split, but {why}",
                    _how_to_call(other, said, tops, place),
                )


def _how_to_call(other: str, said: Collection[str], tops: Folders, place: Path | None) -> str:
    """Return a hint with a split's name that is free: `mv` would put one folder into another that is there.

    `place` is the folder that holds them all; None in an archive.
    """
    wanted = list(said) if len(said) == 1 else ["test", "train", "val"]
    taken = {split_of(top): top for top in tops}
    free = [split for split in wanted if split not in taken and not (place and os.path.lexists(place / split))]
    if not free:
        same = ", ".join(taken.get(split, split) for split in wanted)
        return f"merge it into {same}, or move it elsewhere"
    names = f"{', '.join(free[:-1])} or {free[-1]}" if len(free) > 1 else free[0]
    if place is None:
        return f"recreate the archive with it named {names}, or without it"
    command = shlex.join(["mv", str(place / other), str(place / free[0])])
    return f"rename it to {names} (for example {command}), or move it elsewhere"


def _refuse_beside_flat(keys: Iterable[str], tops: Folders, others: list[str], where: str, place: Path | None) -> None:
    """Raise SourceError for ``train/cat/1.jpg`` beside ``new/2.jpg``: train would become a class, and new another."""
    flat = {key.split("/")[0] for key in keys if key.count("/") == 1}
    for top, below in tops.items():
        if split_of(top) and len(below) > 1 and top not in flat:
            raise SourceError(
                f"{where} holds {top}, a split next to images without classes ({first_few(others)}): "
                f"{top} would become a class",
                f"name {shlex.quote(str(place / top))}, or move what is next to it elsewhere"
                if place
                else f"recreate the archive with {top} alone",
            )


def _is_pair_of_splits(top: str, other: str) -> bool:
    said, meant = splits_in(other), split_of(top)
    return meant is not None or bool(said and splits_in(top) and said != splits_in(top))


def _repeated(folders: set[str], others: set[str]) -> list[str]:
    same = folders & others
    return sorted(same) if 2 * len(same) > len(others) else []


def _warn_of_splits_below(keys: Iterable[str], where: str) -> None:
    """Warn of ``cat/train/1.jpg`` and ``cat/test/2.jpg``: what was set aside would be learnt from."""
    holding = [top for top, below in _folders(keys).items() if len({split_of(name) for name in below} - {None}) > 1]
    if holding:
        text = f"{where} holds splits inside its classes ({first_few(sorted(holding))}), where they are not recognised"
        warnings.warn(f"{text}: put train and test above the classes", FeatxWarning, stacklevel=3)


def _folder(key: str, level: int) -> str | None:
    parts = key.split("/", level + 1)
    return sys.intern(parts[level]) if len(parts) > level + 1 else None


def _split_folders(short: Mapping[str, str], named: Mapping[str, str]) -> dict[str, list[Row]]:
    tops: dict[str, list[str]] = {}
    for key in short:
        tops.setdefault(key.split("/")[0], []).append(key)
    return {
        named[top]: [Row(short[key], key, _folder(key, 2 if _is_doubled(keys) else 1)) for key in keys]
        for top, keys in tops.items()
    }


def _is_doubled(keys: list[str]) -> bool:
    """Tell whether a split's classes lie in a folder of its own name in it: ``test_set/test_set/cats/1.jpg``."""
    top, second = keys[0].split("/")[:2]
    inside = all(key.startswith(f"{top}/{second}/") and key.count("/") > 2 for key in keys)
    return inside and split_of(second) == split_of(top)


def _tiny_imagenet(short: dict[str, str], annotations: bytes) -> dict[str, list[Row]]:
    """Read train/<wnid>/images/*, val/images/* with val_annotations.txt, and the unlabelled test/images/*."""
    labels = dict(line.split("\t")[:2] for line in annotations.decode("utf-8", "replace").splitlines() if "\t" in line)
    splits: dict[str, list[Row]] = {}
    for key, name in short.items():
        split = key.split("/")[0]
        if split == "train":
            label = _folder(key, 1)
        elif split == "val":
            label = labels.get(key.rsplit("/", 1)[-1])
        else:
            split, label = "test", None
        splits.setdefault(split, []).append(Row(name, key, label))
    return splits
