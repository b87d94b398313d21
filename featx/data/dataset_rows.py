"""How many rows published data sets have, by the digest of their archive: a part of one looks like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from featx.data.download import Remote
from featx.errors import SourceError

_IMAGENETTE = {"train": 9_469, "val": 3_925}

PUBLISHED_ROWS: dict[str, Mapping[str, int]] = {
    "c32a1d4ab5d03f1284b67883e8d87530": {"train": 50_000, "test": 10_000},  # CIFAR-10
    "03b5dce01913d631647c71ecec9e9cb8": {"train": 50_000, "test": 10_000},  # CIFAR-100
    "91f7769df0f17e558f3565bffb0c7dfb": {"train": 5_000, "test": 8_000},  # STL-10
    "3138e1922a9193bfa496528edbbc45d0": {"all": 8_677},  # Caltech 101
    "84988d7644798601126c29e9877aab6a": {"train": 31_650, "val": 10_550, "test": 21_100},  # Country211
    "c8fa014336c82ac7804f0398fcb19387": {"all": 27_000},  # EuroSAT
    "513f3c79a4c5141765e10e952eaa2478": {"train": 26_640, "test": 12_630},  # GTSRB
    "fe2fc210e6bb7c5664d602c3cd71e612": _IMAGENETTE,
    "3df6f0d01a2c9592104656642f5e78a3": _IMAGENETTE,
    "e793b78cc4c9e9a4ccc0c1155377a412": _IMAGENETTE,
    "2384d08e9dcfa4bd55b324e610496ee5": {"train": 6_920, "val": 872, "test": 1_821},  # Rendered SST2
    "8ca2778205c41d23104230ba66911c7a": {"all": 108_754},  # SUN397
}
"""Rows of each split, of the sets that are read from what was unpacked, without a published list of files."""


def check_rows(name: str, remotes: Sequence[Remote], found: Mapping[str, int], where: str) -> None:
    """Raise SourceError where a set has other numbers of rows than its publishers say.

    Parameters
    ----------
    name, where : str
        The set's name, and the data folder.
    remotes : sequence of Remote
        Its files; the first one's digest says which set it is.
    found : mapping of str to int
        Rows by split.
    """
    expected = PUBLISHED_ROWS.get(remotes[0].md5)
    if expected is None or dict(found) == dict(expected):
        return
    wrong = [f"{rows:,} {split} images of {expected.get(split, 0):,}" for split, rows in found.items()]
    unpacked = ", ".join(f"{remote.folder}/{made}".removeprefix("./") for remote in remotes for made in remote.unpacked)
    raise SourceError(
        f"data set {name} in {where} is incomplete: it has {', '.join(wrong)}",
        f"delete {unpacked} there to have it unpacked or downloaded again",
    )
