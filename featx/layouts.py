"""What the names in a folder or archive say about splits and labels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from featx.errors import SourceError
from featx.images import is_image_name

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Folder names that are splits, and what they are called."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image: its name in the archive, its stable id, its class or None."""

    name: str
    id: str
    label: str | None


@dataclass(frozen=True)
class Layout:
    """Rows by split (``all`` where there are none), and the class names, sorted."""

    splits: dict[str, list[Row]]
    classes: tuple[str, ...]


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
        Where there is no image at all, or split folders stand among others.
    """
    if images is None:
        images = [name for name in names if is_image_name(name)]
    if not images:
        raise SourceError(
            f"{where} holds no images ({len(names)} other files), expected class folders with images",
            "for example cats/1.jpg and dogs/2.jpg, or train/cats/1.jpg",
        )
    wrap = _wrapping_folders(images, where)
    short = {name.removeprefix(wrap): name for name in images}
    if wrap + "wnids.txt" in names and wrap + "val/val_annotations.txt" in names:
        splits = _tiny_imagenet(short, read(wrap + "val/val_annotations.txt"))
    elif _is_split(short, where):
        splits = _split_folders(short)
    else:
        splits = {"all": [Row(name, key, _folder(key, 0)) for key, name in short.items()]}
    return arrange(splits)


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
            f"{where} holds the image {stray[0]}{more} beside one folder of folders, {wrap}",
            f"name {where}/{wrap.rstrip('/')}, or move the image elsewhere",
        )


def _wrapping_folder(images: list[str]) -> str:
    """Return the one folder that wraps everything ('cifar10/'), or '' where there is none."""
    top = images[0].split("/")[0]
    if top.lower() in SPLIT_FOLDERS or not all(name.startswith(top + "/") for name in images):
        return ""
    # One folder with the images directly inside is a class, not a wrapping.
    is_class = any(name.count("/") < 2 for name in images) and len(_split_names(n.split("/")[1] for n in images)) < 2
    return "" if is_class else top + "/"


def _split_names(folders: Iterable[str]) -> set[str]:
    return {SPLIT_FOLDERS[name.lower()] for name in folders if name.lower() in SPLIT_FOLDERS}


def _is_split(keys: Iterable[str], where: str) -> bool:
    """Tell whether everything lies in split folders; SourceError where ``train`` and ``test`` have company."""
    tops = {key.partition("/")[0] if "/" in key else "images without a folder" for key in keys}
    others = sorted(top for top in tops if top.lower() not in SPLIT_FOLDERS)
    found = _split_names(tops)
    # 'train' alone beside others may be a class of vehicles; two such names are no coincidence.
    if others and "train" in found and len(found) > 1:
        raise SourceError(
            f"{where} holds {' and '.join(sorted(found))} folders beside {', '.join(others)[:200]}: "
            "splits or classes, but not both",
            "move what is no split elsewhere",
        )
    return not others


def _folder(key: str, level: int) -> str | None:
    parts = key.split("/", level + 1)
    return sys.intern(parts[level]) if len(parts) > level + 1 else None


def _split_folders(short: dict[str, str]) -> dict[str, list[Row]]:
    splits: dict[str, list[Row]] = {}
    for key, name in short.items():
        split = SPLIT_FOLDERS[key.split("/")[0].lower()]
        splits.setdefault(split, []).append(Row(name, key, _folder(key, 1)))
    return splits


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
