"""torchvision's data sets that are arrays, read from the files that their authors publish.

torchvision keeps CIFAR as pickles, which featx never loads: the binary version of the same images is read instead.
"""

from __future__ import annotations

import bz2
import gzip
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.data.download import Remote

ImageArray = npt.NDArray[np.uint8]
Arrays = dict[str, tuple[ImageArray, npt.NDArray[np.int64]]]
"""By split: images (n, H, W) or (n, H, W, C), and labels (n,)."""


@dataclass(frozen=True)
class ArraySet:
    """Published files, how to read them below the data folder, and the classes (or where their names stand).

    `directed` says what the images show, where their mirror images are of no class, or of another.
    """

    remotes: tuple[Remote, ...]
    read: Callable[[Path], Arrays]
    classes: tuple[str, ...] | str
    directed: str = ""


DIGITS = tuple("0123456789")
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
LOWER = tuple("abcdefghijklmnopqrstuvwxyz")
ALL = (*DIGITS, *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", *LOWER)
BALANCED = tuple(c for c in ALL if c not in "cijklmopsuvwxyz")


def _label(values: Any) -> npt.NDArray[np.int64]:
    return np.asarray(values).astype(np.int64).reshape(-1)


# CIFAR, STL-10


def cifar(folder: str, train: Sequence[str], test: str, labels: int) -> Callable[[Path], Arrays]:
    """Read records of `labels` bytes, of which the last counts, and 3 x 32 x 32 values."""

    def one(paths: Sequence[Path]) -> tuple[ImageArray, npt.NDArray[np.int64]]:
        size = labels + 3 * 32 * 32
        rows = np.concatenate([_records(path, size) for path in paths])
        images = rows[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images), _label(rows[:, labels - 1])

    def read(root: Path) -> Arrays:
        return {"train": one([root / folder / name for name in train]), "test": one([root / folder / test])}

    return read


def _records(path: Path, size: int) -> npt.NDArray[np.uint8]:
    data = np.fromfile(path, np.uint8)
    if len(data) % size:
        raise ValueError(f"{path.name} has {len(data):,} bytes, expected whole records of {size:,}: it is truncated")
    return data.reshape(-1, size)


def stl10(root: Path) -> Arrays:
    """Read both labelled splits; the unlabelled one is left out. Images are stored by columns."""

    def one(split: str) -> tuple[ImageArray, npt.NDArray[np.int64]]:
        data = np.fromfile(root / "stl10_binary" / f"{split}_X.bin", np.uint8).reshape(-1, 3, 96, 96)
        labels = np.fromfile(root / "stl10_binary" / f"{split}_y.bin", np.uint8)
        return np.ascontiguousarray(data.transpose(0, 3, 2, 1)), _label(labels) - 1

    return {"train": one("train"), "test": one("test")}


def svhn(root: Path) -> Arrays:
    """Read ``train`` and ``test``; ``extra``, 531,131 easier images, is left out. Label 10 means the digit 0."""
    from scipy.io import loadmat  # knows numbers and strings only: nothing in such a file is run

    def one(split: str) -> tuple[ImageArray, npt.NDArray[np.int64]]:
        found = loadmat(root / f"{split}_32x32.mat", variable_names=["X", "y"])
        return np.ascontiguousarray(found["X"].transpose(3, 0, 1, 2)), _label(found["y"]) % 10

    return {"train": one("train"), "test": one("test")}


# MNIST and its kin


def idx(data: bytes) -> npt.NDArray[Any]:
    """Return the array in MNIST's format: two zeros, a type, the number of dimensions, sizes, values."""
    types = {8: ">u1", 12: ">i4"}
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in types:
        raise ValueError("no file in MNIST's format")
    shape = np.frombuffer(data, ">u4", data[3], 4)
    return np.frombuffer(data, types[data[2]], offset=4 + 4 * data[3]).reshape([int(n) for n in shape])


def mnist(folder: str, parts: dict[str, tuple[str, str]]) -> Callable[[Path], Arrays]:
    """Read gzipped images and labels by split; where a label has several columns, the first is the class."""

    def read(root: Path) -> Arrays:
        found = {}
        for split, names in parts.items():
            images, labels = (idx(gzip.decompress((root / folder / name).read_bytes())) for name in names)
            found[split] = images, _label(labels if labels.ndim == 1 else labels[:, 0])
        return found

    return read


def emnist(kind: str, first: int) -> Callable[[Path], Arrays]:
    """Read one of the six parts; its images lie on their side in the files, and are turned upright here."""

    def read(root: Path) -> Arrays:
        found = {}
        with zipfile.ZipFile(root / "EMNIST/raw/gzip.zip") as archive:
            for split in ("train", "test"):
                stem = f"gzip/emnist-{kind}-{split}"
                images = idx(gzip.decompress(archive.read(f"{stem}-images-idx3-ubyte.gz")))
                labels = idx(gzip.decompress(archive.read(f"{stem}-labels-idx1-ubyte.gz")))
                found[split] = np.ascontiguousarray(images.transpose(0, 2, 1)), _label(labels) - first
        return found

    return read


# Small ones in text


def usps(root: Path) -> Arrays:
    """Read lines ``label 1:value 2:value ...`` with values from -1 to 1."""

    def one(name: str) -> tuple[ImageArray, npt.NDArray[np.int64]]:
        lines = [line.split() for line in bz2.decompress((root / name).read_bytes()).decode().splitlines()]
        values = np.array([[cell.partition(":")[2] for cell in line[1:]] for line in lines], np.float32)
        # As torchvision does, so that the pixels are the same.
        images = ((values.reshape(-1, 16, 16) + 1) / 2 * 255).astype(np.uint8)
        return images, _label([int(line[0]) - 1 for line in lines])

    return {"train": one("usps.bz2"), "test": one("usps.t.bz2")}


def semeion(root: Path) -> Arrays:
    """Read 256 values of 0 or 1 and ten of which one is 1, a line an image."""
    rows = np.loadtxt(root / "semeion.data", ndmin=2)
    return {"all": ((255 * rows[:, :256]).astype(np.uint8).reshape(-1, 16, 16), _label(rows[:, 256:].argmax(1)))}


# The table


def _idx_set(
    folder: str, mirrors: Sequence[str], files: Sequence[tuple[str, str]], classes: tuple[str, ...], directed: str
) -> ArraySet:
    """Return a set of four files: training images and labels, test images and labels."""
    names = [name for name, _ in files]
    remotes = tuple(Remote(tuple(m + name for m in mirrors), md5, folder) for name, md5 in files)
    read = mnist(folder, {"train": (names[0], names[1]), "test": (names[2], names[3])})
    return ArraySet(remotes, read, classes, directed)


_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _mnist_set(
    folder: str, mirrors: Sequence[str], md5: Sequence[str], classes: tuple[str, ...], directed: str = ""
) -> ArraySet:
    return _idx_set(folder, mirrors, list(zip(_NAMES, md5, strict=True)), classes, directed)


def _cifar_set(name: str, md5: str, folder: str, read: Callable[[Path], Arrays], classes: str) -> ArraySet:
    note = f"; the {name}-python.tar.gz that torchvision uses contains pickles, which featx never loads"
    url = f"https://www.cs.toronto.edu/~kriz/{name}-binary.tar.gz"
    return ArraySet((Remote((url,), md5, unpacked=(folder,), note=note),), read, f"{folder}/{classes}")


def _emnist_set(kind: str, classes: tuple[str, ...], first: int = 0) -> ArraySet:
    url = "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"
    remote = Remote((url,), "58c8d27c78d21e728a6bc7b3cc06412e", "EMNIST/raw")
    directed = "digits" if classes == DIGITS else "letters" if classes == LOWER else "letters and digits"
    return ArraySet((remote,), emnist(kind, first), classes, directed)


ARRAY_SETS: dict[str, ArraySet] = {
    "cifar10": _cifar_set(
        "cifar-10",
        "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-batches-bin",
        cifar("cifar-10-batches-bin", [f"data_batch_{i}.bin" for i in range(1, 6)], "test_batch.bin", 1),
        "batches.meta.txt",
    ),
    "cifar100": _cifar_set(
        "cifar-100",
        "03b5dce01913d631647c71ecec9e9cb8",
        "cifar-100-binary",
        cifar("cifar-100-binary", ["train.bin"], "test.bin", 2),
        "fine_label_names.txt",
    ),
    "stl10": ArraySet(
        (
            Remote(
                ("http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",),
                "91f7769df0f17e558f3565bffb0c7dfb",
                unpacked=("stl10_binary",),
            ),
        ),
        stl10,
        "stl10_binary/class_names.txt",
    ),
    "svhn": ArraySet(
        (
            Remote(("http://ufldl.stanford.edu/housenumbers/train_32x32.mat",), "e26dedcc434d2e4c54c9b2d4a06d8373"),
            Remote(("http://ufldl.stanford.edu/housenumbers/test_32x32.mat",), "eb5a983be6a315427106f1b164d9cef3"),
        ),
        svhn,
        DIGITS,
        "house numbers",
    ),
    "mnist": _mnist_set(
        "MNIST/raw",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        DIGITS,
        "digits",
    ),
    "fashion_mnist": _mnist_set(
        "FashionMNIST/raw",
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        FASHION,
    ),
    "kmnist": _mnist_set(
        "KMNIST/raw",
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        (
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
        KUZUSHIJI,
        "Japanese characters",
    ),
    "qmnist": _idx_set(
        "QMNIST/raw",
        ("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",),
        (
            ("qmnist-train-images-idx3-ubyte.gz", "ed72d4157d28c017586c42bc6afe6370"),
            ("qmnist-train-labels-idx2-int.gz", "0058f8dd561b90ffdd0f734c6a30e5e4"),
            ("qmnist-test-images-idx3-ubyte.gz", "1394631089c404de565df7b7aeaf9412"),
            ("qmnist-test-labels-idx2-int.gz", "5b5b05890a5e13444e108efe57b788aa"),
        ),
        DIGITS,
        "digits",
    ),
    "emnist_balanced": _emnist_set("balanced", BALANCED),
    "emnist_byclass": _emnist_set("byclass", ALL),
    "emnist_bymerge": _emnist_set("bymerge", BALANCED),
    "emnist_digits": _emnist_set("digits", DIGITS),
    "emnist_letters": _emnist_set("letters", LOWER, first=1),
    "emnist_mnist": _emnist_set("mnist", DIGITS),
    "usps": ArraySet(
        (
            Remote(
                ("https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/usps.bz2",),
                "ec16c51db3855ca6c91edd34d0e9b197",
            ),
            Remote(
                ("https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/usps.t.bz2",),
                "8ea070ee2aca1ac39742fdd1ef5ed118",
            ),
        ),
        usps,
        DIGITS,
        "digits",
    ),
    "semeion": ArraySet(
        (
            Remote(
                ("http://archive.ics.uci.edu/ml/machine-learning-databases/semeion/semeion.data",),
                "cb545d371d2ce14ec121470795a77432",
            ),
        ),
        semeion,
        DIGITS,
        "digits",
    ),
}
