"""Which of the files in a folder or archive are images, and what is said of the others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from featx.data.decoding import HEIF_SUFFIXES, image_suffixes
from featx.data.folder_layout import Layout
from featx.data.kinds import HEAD_BYTES, can_read, kind_of
from featx.data.litter import is_litter
from featx.data.split_names import split_of
from featx.errors import FeatxWarning, SourceError, first_few

Head = Callable[[str, int], bytes]
"""Gives a file's first bytes, none where they cannot be had."""

RARE = (
    *(".bw", ".blp", ".cur", ".dcx", ".dds", ".fit", ".fits", ".flc", ".fli", ".ftc", ".ftu", ".gbr", ".icns", ".im"),
    *(".imt", ".iim", ".msp", ".p7", ".pcd", ".pcx", ".pxr", ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".spider"),
    *(".xbm", ".xpm"),
)
"""Endings of names that are those of other files too: images where their first bytes say so as well."""

TEXTS = (
    *(".txt", ".json", ".jsonl", ".xml", ".csv", ".tsv", ".md", ".rst", ".html", ".htm", ".yaml", ".yml", ".toml"),
    *(".ini", ".log", ".py", ".ipynb", ".sh", ".m", ".mat", ".npy", ".npz", ".pkl", ".pt", ".pth", ".h5", ".hdf5"),
    *(".parquet", ".arrow", ".pdf", ".zip", ".tar", ".gz", ".xmp", ".xlsx", ".docx", ".mp4", ".mov", ".avi", ".mkv"),
)
"""Endings of files that lie beside images, and are not looked into: there may be one for each image."""

COPIES = (
    *("~", ".bak", ".old", ".orig", "_original", ".part", ".partial", ".crdownload", ".download", ".tmp", ".temp"),
    *(".swp", ".thm"),
)
"""Endings of copies, previews and unfinished files: images that nobody means a second time."""

RAW = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".kdc", ".mef", ".mos"),
    *(".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
"""Endings of cameras' raw files: of those that begin as a TIFF does, Pillow would give the preview."""

PICTURES = (*HEIF_SUFFIXES, *RAW, ".jxl", ".jxr", ".wdp", ".dcm", ".dicom", ".exr", ".hdr", ".svg", ".xcf", ".eps")
"""Endings of images that are not read: somebody means them by it."""

_KINDS_NAMED = 6


class LeftOut(FeatxWarning):
    """Files of a source that are no images, or none that can be read.

    Parameters
    ----------
    where : str
        The source.
    counts : mapping of str to int
        Files by the ending of their names, most first.
    """

    def __init__(self, where: str, counts: Mapping[str, int]) -> None:
        super().__init__(where, dict(counts))
        self.where, self.counts = where, dict(counts)

    def __str__(self) -> str:
        return f"{self.where}: {left_out_line(self.counts)}"


@dataclass(frozen=True)
class Listing:
    """The images among a source's files, and the others without what programs leave behind; both sorted."""

    images: list[str]
    others: list[str]


def find_images(names: Sequence[str], head: Head) -> Listing:
    """Tell images from other files: by their names, and where these say nothing, by their first bytes.

    Parameters
    ----------
    names : sequence of str
        Of all files.
    head : callable
        Gives the first bytes of one.
    """
    suffixes = image_suffixes()
    images: list[str] = []
    others: list[str] = []
    for name in names:
        if any(map(is_litter, name.split("/"))):
            continue
        is_one = name.lower().endswith(suffixes) or looks_like_image(name, head)
        (images if is_one else others).append(name)
    return Listing(images, _without_helpers(others))


def looks_like_image(name: str, head: Head) -> bool:
    """Tell whether a file whose name does not say so is an image, by its first bytes."""
    lower = name.lower()
    if lower.endswith((*TEXTS, *COPIES, *RAW)):
        return False
    kind = kind_of(head(name, HEAD_BYTES))
    return kind is not None and can_read(kind) and (kind.is_sure or lower.endswith(RARE))


def _without_helpers(others: list[str]) -> list[str]:
    """Leave out the lists of Tiny-ImageNet's official layout: they belong to it."""
    if not any(name.endswith("val/val_annotations.txt") for name in others):
        return others
    return [n for n in others if not n.endswith(("wnids.txt", "words.txt", "val_annotations.txt", "_boxes.txt"))]


def count_kinds(names: Iterable[str]) -> dict[str, int]:
    """Count files by the ending of their names, most first; an empty one where there is none."""
    found = Counter(os.path.splitext(name.rpartition("/")[2])[1].lower()[:20] for name in names)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def left_out_line(counts: Mapping[str, int]) -> str:
    """Return ``18 other files left out (.heic 10, .txt 8)``, and how one of them would be read."""
    total = sum(counts.values())
    files = "1 other file" if total == 1 else f"{total:,} other files"
    hint = f"; {hint_for(counts)}" if hint_for(counts) else ""
    return f"{files} left out ({name_kinds(counts)}){hint}"


def name_kinds(counts: Mapping[str, int]) -> str:
    """Return ``.heic 10, .txt 8``."""
    named = [f"{suffix or 'no extension'} {count:,}" for suffix, count in counts.items()]
    more = len(named) - _KINDS_NAMED
    return ", ".join(named[:_KINDS_NAMED]) + (f" and {more} more kinds" if more > 0 else "")


def hint_for(counts: Collection[str]) -> str:
    """Return what would make files of such endings readable, an empty text where nothing is known."""
    heic = [suffix for suffix in HEIF_SUFFIXES if suffix in counts]
    return f"pip install 'featx[heic]' reads {' '.join(heic)}" if heic and not can_read_heic() else ""


def can_read_heic() -> bool:
    """Tell whether HEIC is read here."""
    return HEIF_SUFFIXES[0] in image_suffixes()


def check_class_folders(layout: Layout, others: Sequence[str], empty: Sequence[str], where: str) -> None:
    """Raise SourceError where a class would be lost because none of its files is an image.

    Parameters
    ----------
    layout : Layout
        What the images' names say.
    others : sequence of str
        The other files.
    empty : sequence of str
        Folders without any file; a class that has images in another split may have one.
    where : str
        What to call the place.
    """
    rows = [row for found in layout.splits.values() for row in found]
    wrap = rows[0].name.removesuffix(rows[0].id)
    _check_beside(wrap, others, where)
    if not layout.classes:
        return
    depth = 1 if "all" in layout.splits else 2
    filled = {_top(row.id, depth) for row in rows}
    splits = {row.id.split("/")[0] for row in rows if row.label is not None} if depth == 2 else set()
    lost: dict[str, list[str]] = {}
    for name in others:
        folder = _top(name.removeprefix(wrap), depth) if name.startswith(wrap) else ""
        if folder and folder not in filled and _is_class(folder, splits, depth):
            lost.setdefault(folder, []).append(name)
    for name in empty:
        folder = _top(name.removeprefix(wrap), depth) if name.startswith(wrap) else ""
        if folder and folder.split("/")[-1] not in layout.classes and _is_class(folder, splits, depth):
            lost.setdefault(folder, [])
    if lost:
        raise _lost(lost, where)


def _check_beside(wrap: str, others: Sequence[str], where: str) -> None:
    """Raise SourceError for images of a kind that is not read beside the one folder of all others: a class is lost."""
    beside = [name for name in others if not name.startswith(wrap) and name.lower().endswith(PICTURES)]
    folders: dict[str, list[str]] = {}
    for name in beside:
        if folder := _top(name, 1):
            folders.setdefault(folder, []).append(name)
    if folders:
        raise _lost(folders, where)


def _is_class(folder: str, splits: Collection[str], depth: int) -> bool:
    top = folder.split("/")[0]
    return depth == 1 or top in splits or split_of(top) is not None


def _top(name: str, depth: int) -> str:
    """Return a name's first folders, an empty string if it has fewer."""
    parts = name.split("/", depth)
    return "/".join(parts[:depth]) if len(parts) > depth else ""


def _lost(folders: Mapping[str, Sequence[str]], where: str) -> SourceError:
    found = [f"{folder} ({_content(names)})" for folder, names in sorted(folders.items())]
    what = "class folder" if len(found) == 1 else f"{len(found)} class folders"
    every = count_kinds(name for names in folders.values() for name in names)
    return SourceError(
        f"{where} has {what} without a readable image: {first_few(found)}",
        hint_for(every) or "put readable images there, or move what is not a class elsewhere",
    )


def _content(names: Sequence[str]) -> str:
    return f"other files: {name_kinds(count_kinds(names))}" if names else "empty"
