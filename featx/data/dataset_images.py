"""torchvision's data sets that are image files: torchvision says which files and labels, featx reads the bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featx.data.download import Remote
from featx.data.folder_layout import Layout, Row

WHOLE: Mapping[str, Mapping[str, str]] = {"all": {}}
"""A set without splits."""


@dataclass(frozen=True)
class ImageSet:
    """Published files, the name of torchvision's class, where the images lie, and a split's arguments.

    `directed` says what the images show, where their mirror images are of no class, or of another.
    """

    remotes: tuple[Remote, ...]
    kind: str
    base: str
    splits: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: WHOLE)
    directed: str = ""


def _splits(*names: str, **others: str) -> Mapping[str, Mapping[str, str]]:
    return {name: {"split": others.get(name, name)} for name in (*names, *others)}


def read_rows(chosen: ImageSet, root: Path) -> Layout:
    """Return the rows of every split, sorted by id, and the classes in the set's own order.

    Parameters
    ----------
    chosen : ImageSet
        The set, whose files lie below `root` already.
    root : Path
        The data folder.
    """
    import torchvision.datasets  # loads torch, which array sets and folders can do without

    kind = getattr(torchvision.datasets, chosen.kind)
    base = root / chosen.base
    splits: dict[str, list[Row]] = {}
    classes: tuple[str, ...] = ()
    for split, options in chosen.splits.items():
        data = kind(root, **options)
        found = [(os.path.relpath(path, base).replace(os.sep, "/"), int(label)) for path, label in _samples(data)]
        classes = classes or _classes(data, found)
        splits[split] = [Row(name, name, classes[label]) for name, label in sorted(found)]
    return Layout(splits, classes)


def _samples(data: Any) -> Iterable[tuple[str, int]]:
    """Return files and labels: torchvision has one attribute for them, or two, by several names."""
    for name in ("samples", "_samples"):
        if hasattr(data, name):
            samples: Iterable[tuple[str, int]] = getattr(data, name)
            return samples
    if hasattr(data, "categories"):  # Caltech 101 counts its files
        folders = [os.path.join(data.root, "101_ObjectCategories", name) for name in data.categories]
        numbered = zip(data.y, data.index, strict=True)
        return [(os.path.join(folders[y], f"image_{i:04d}.jpg"), y) for y, i in numbered]
    files = data._image_files if hasattr(data, "_image_files") else data._images
    return zip(files, data._labels, strict=True)


def _classes(data: Any, found: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    names = getattr(data, "classes", None) or getattr(data, "categories", None)
    if names is None:  # GTSRB names no sign; its folders are numbered in five digits
        names = [f"{label:05d}" for label in range(max(label for _, label in found) + 1)]
    # Imagenette gives every name that WordNet has.
    return tuple(name if isinstance(name, str) else name[0] for name in names)


_VGG = "https://www.robots.ox.ac.uk/~vgg/data/"
_FLOWERS = _VGG + "flowers/102/"
_SIGNS = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"


def _imagenette(name: str, md5: str, size: str) -> ImageSet:
    url = f"https://s3.amazonaws.com/fast-ai-imageclas/{name}.tgz"
    splits = {split: {"split": split, "size": size} for split in ("train", "val")}
    return ImageSet((Remote((url,), md5, unpacked=(name,)),), "Imagenette", name, splits)


IMAGE_SETS: dict[str, ImageSet] = {
    "caltech101": ImageSet(
        (
            Remote(
                ("https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",),
                "3138e1922a9193bfa496528edbbc45d0",
                "caltech101",
                ("101_ObjectCategories",),
                inner="caltech-101/101_ObjectCategories.tar.gz",
            ),
        ),
        "Caltech101",
        "caltech101/101_ObjectCategories",
    ),
    "country211": ImageSet(
        (
            Remote(
                ("https://openaipublic.azureedge.net/clip/data/country211.tgz",),
                "84988d7644798601126c29e9877aab6a",
                unpacked=("country211",),
            ),
        ),
        "Country211",
        "country211",
        _splits("train", val="valid", test="test"),
    ),
    "dtd": ImageSet(
        (Remote((_VGG + "dtd/download/dtd-r1.0.1.tar.gz",), "fff73e5086ae6bdbea199a49dfb8a4c1", "dtd", ("dtd",)),),
        "DTD",
        "dtd/dtd/images",
        _splits("train", "val", "test"),
    ),
    "eurosat": ImageSet(
        (
            Remote(
                (
                    "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
                    "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
                ),
                "c8fa014336c82ac7804f0398fcb19387",
                "eurosat",
                ("2750",),
            ),
        ),
        "EuroSAT",
        "eurosat/2750",
    ),
    "fgvc_aircraft": ImageSet(
        (Remote((_VGG + "fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",), "", unpacked=("fgvc-aircraft-2013b",)),),
        "FGVCAircraft",
        "fgvc-aircraft-2013b/data/images",
        _splits("train", "val", "test"),
    ),
    "flowers102": ImageSet(
        (
            Remote((_FLOWERS + "102flowers.tgz",), "52808999861908f626f3c1f4e79d11fa", "flowers-102", ("jpg",)),
            Remote((_FLOWERS + "imagelabels.mat",), "e0620be6f572b9609742df49c70aed4d", "flowers-102"),
            Remote((_FLOWERS + "setid.mat",), "a5357ecc9cb78c4bef273ce3793fc85c", "flowers-102"),
        ),
        "Flowers102",
        "flowers-102/jpg",
        _splits("train", "val", "test"),
    ),
    "food101": ImageSet(
        (
            Remote(
                ("http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",),
                "85eeb15f3717b99a5da872d97d918f87",
                unpacked=("food-101",),
            ),
        ),
        "Food101",
        "food-101/images",
        _splits("train", "test"),
    ),
    "gtsrb": ImageSet(
        (
            Remote(
                (_SIGNS + "GTSRB-Training_fixed.zip",),
                "513f3c79a4c5141765e10e952eaa2478",
                "gtsrb",
                ("GTSRB/Training",),
            ),
            Remote(
                (_SIGNS + "GTSRB_Final_Test_Images.zip",),
                "c7e4e6327067d32654124b0fe9e82185",
                "gtsrb",
                ("GTSRB/Final_Test",),
            ),
            Remote(
                (_SIGNS + "GTSRB_Final_Test_GT.zip",),
                "fe31e9c9270bbcd7b84b7f21a9d9d9e5",
                "gtsrb",
                ("GT-final_test.csv",),
            ),
        ),
        "GTSRB",
        "gtsrb/GTSRB",
        _splits("train", "test"),
        "traffic signs",
    ),
    "imagenette": _imagenette("imagenette2", "fe2fc210e6bb7c5664d602c3cd71e612", "full"),
    "imagenette_320": _imagenette("imagenette2-320", "3df6f0d01a2c9592104656642f5e78a3", "320px"),
    "imagenette_160": _imagenette("imagenette2-160", "e793b78cc4c9e9a4ccc0c1155377a412", "160px"),
    "oxfordiiitpet": ImageSet(
        (
            Remote(
                (_VGG + "pets/data/images.tar.gz",), "5c4f3ee8e5d25df40f4fd59a7f44e54c", "oxford-iiit-pet", ("images",)
            ),
            Remote(
                (_VGG + "pets/data/annotations.tar.gz",),
                "95a8c909bbe2e81eed6a22bccdf3f68f",
                "oxford-iiit-pet",
                ("annotations",),
            ),
        ),
        "OxfordIIITPet",
        "oxford-iiit-pet/images",
        _splits(train="trainval", test="test"),
    ),
    "rendered_sst2": ImageSet(
        (
            Remote(
                ("https://openaipublic.azureedge.net/clip/data/rendered-sst2.tgz",),
                "2384d08e9dcfa4bd55b324e610496ee5",
                unpacked=("rendered-sst2",),
            ),
        ),
        "RenderedSST2",
        "rendered-sst2",
        _splits("train", "val", "test"),
        "written sentences",
    ),
    "sun397": ImageSet(
        (
            Remote(
                ("http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",),
                "8ca2778205c41d23104230ba66911c7a",
                unpacked=("SUN397",),
            ),
        ),
        "SUN397",
        "SUN397",
    ),
}
