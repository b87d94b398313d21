"""torchvision's data sets by name: ``cifar10``, ``flowers102``, ...; downloaded where they are absent.

Every set of torchvision that is made for classifying images and can be downloaded by a program is here, except

- those that ask for more than a download: CelebA and PCAM (Google Drive), ImageNet, FER2013 (accounts), LFW and
  Stanford Cars (no longer served);
- Places365 and iNaturalist, tens to hundreds of GB in a single file: unpack them, and name the folder;
- Caltech 256, an uncompressed tar of class folders: ``featx extract 256_ObjectCategories.tar`` reads it in place;
- Omniglot, whose two parts share no class, and CLEVR, which counts instead of classifying.

No pickle is loaded: for CIFAR the binary version is taken, and no other set holds one. MATLAB files hold numbers and
text. ``fgvc_aircraft`` is the one set without a published digest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from featx.cache.memo import Memo
from featx.core.paths import data_folder
from featx.core.specs import Progress
from featx.data.arrays import ArraySource
from featx.data.dataset_arrays import ARRAY_SETS, ArraySet
from featx.data.dataset_images import IMAGE_SETS, read_rows
from featx.data.dataset_rows import check_rows
from featx.data.download import all_here, fetch_all
from featx.data.files import FolderFiles
from featx.data.folder_layout import Layout
from featx.errors import FeatxError, SourceError

T = TypeVar("T")


def is_here(name: str) -> bool:
    """Tell whether a source can be opened without a download: a data set whose files are there, or anything else."""
    chosen = ARRAY_SETS.get(name) or IMAGE_SETS.get(name)
    return chosen is None or all_here(chosen.remotes, data_folder())


def open_arrays(name: str, memo: Memo | None, progress: Progress) -> dict[str, ArraySource]:
    """Open a set of arrays; ids are ``train/000000``, ..., in the order of the published files.

    Raises
    ------
    SourceError
        Naming the file, its digest and the folder where it belongs: where it is missing or damaged. A set that
        was unpacked and is no longer whole is refused too.
    """
    chosen = ARRAY_SETS[name]
    root = data_folder()
    fetch_all(name, chosen.remotes, root, memo, progress)
    found = _read(name, root, functools.partial(_array_sources, name, chosen, root))
    check_rows(name, chosen.remotes, {split: len(source) for split, source in found.items()}, str(root))
    return found


def open_images(name: str, memo: Memo | None, progress: Progress) -> tuple[FolderFiles, Layout]:
    """Open a set of image files; ids are paths below the folder of images, and rows are sorted by them."""
    chosen = IMAGE_SETS[name]
    root = data_folder()
    fetch_all(name, chosen.remotes, root, memo, progress)
    layout = _read(name, root, functools.partial(read_rows, chosen, root))
    check_rows(name, chosen.remotes, {split: len(rows) for split, rows in layout.splits.items()}, str(root))
    return FolderFiles(root / chosen.base, memo), layout


def _array_sources(name: str, chosen: ArraySet, root: Path) -> dict[str, ArraySource]:
    classes = chosen.classes
    if isinstance(classes, str):
        classes = tuple((root / classes).read_text().split())
    found = {}
    for split, (images, labels) in chosen.read(root).items():
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
            raise ValueError(f"labels from {labels.min()} to {labels.max()} for {len(classes)} classes")
        ids = [f"{split}/{i:06d}" for i in range(len(images))]
        found[split] = ArraySource(images, labels, classes=classes, ids=ids, spec=name, split=split)
    return found


def _read(name: str, root: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except FeatxError:
        raise
    # Files that were unpacked once may have been changed since: numpy, scipy and torchvision raise what they meet.
    except Exception as exc:
        reason = " ".join(str(exc).split())[:160] or type(exc).__name__
        raise SourceError(
            f"data set {name} in {root} cannot be read: {reason}", "delete its files to have them downloaded again"
        ) from exc
