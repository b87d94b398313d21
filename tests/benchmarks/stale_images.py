"""Images, labels and places changed behind featx's back, in every kind of source."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from faults_child import in_child
from faults_table import Line
from stale_cases import LENET, Case, Recipe, arrays
from stale_sources import KINDS, put

from featx.cache.memo import Memo
from featx.core.file_stamps import SETTLED_SECONDS
from featx.data.sources import load_splits

RACES = 40


def data_cases(root: Path) -> list[Case]:
    """Return each change of each kind of source; those that change no image come last."""
    cases = []
    X, y = arrays()
    pixel, swapped = X.copy(), X.copy()
    pixel[3, 2, 2] ^= 1
    swapped[[1, 4]] = swapped[[4, 1]]
    for kind, (name, files) in KINDS.items():
        changes: dict[str, tuple[Callable[[Path], Any], bool]] = {
            "one pixel in place": (partial(put, files=files(pixel, y)), False),
            "one pixel by a rename": (partial(put, files=files(pixel, y), by_rename=True), False),
            "order": (partial(put, files=files(swapped, y)), True),
            "an image less": (partial(put, files=files(X[:-1], y[:-1])), True),
            "other labels": (partial(put, files=files(X, y[::-1].copy())), True),
            "other class names": (partial(put, files=files(X, y + 5)), True),
            "touched": (_touch, True),
            "moved": (_move, True),
            "copied": (_copy, True),
        }
        for what, (change, same) in changes.items():
            place = root / f"{kind} {what}".replace(" ", "-")
            put(place, files(X, y))
            after = place.with_name(place.name + "-there") if what in ("moved", "copied") else place
            recipe, then = Recipe(place / name), Recipe(after / name)
            cases.append(Case(f"{kind}: {what}", root / f"home-{kind}", recipe, partial(change, place), then, same))
    return cases


def _touch(root: Path) -> None:
    for path in root.rglob("*"):
        os.utime(path)


def _move(root: Path) -> None:
    root.rename(root.with_name(root.name + "-there"))


def _copy(root: Path) -> None:
    shutil.copytree(root, root.with_name(root.name + "-there"))


def racy(root: Path) -> Line:
    """Change a pixel within the tick of the file system's clock, right after its hash was taken."""
    stale = equal = 0
    X, y = arrays()
    kinds = [kind for kind in KINDS if kind != "npz"]  # which is never remembered
    for number in range(RACES):
        kind = kinds[number % len(kinds)]
        name, files = KINDS[kind]
        place = root / str(number)
        put(place, files(X, y))
        memo = Memo(root / "home")
        _fingerprint(place / name, memo)
        before = _times(place)
        changed = X.copy()
        changed[number % 12, 1, 1] ^= 255
        put(place, files(changed, y))
        equal += _times(place) == before
        stale += _fingerprint(place / name, memo) != _fingerprint(place / name, None)
    return Line("never stale", "a pixel right after its hash", RACES, {"stale": stale}, {"of equal times": equal})


def _times(place: Path) -> list[Any]:
    return [(p.stat().st_mtime_ns, p.stat().st_ctime_ns) for p in sorted(place.rglob("*")) if p.is_file()]


def _fingerprint(path: Path, memo: Memo | None) -> str:
    return "".join(source.fingerprint() for source in load_splits(path, memo=memo).values())


def mapped(root: Path) -> Line:
    """Change pixels through a memory map that stays open: the system may give such changes no new time."""
    stale = equal = 0
    X, y = arrays()
    put(root, KINDS["npy"][1](X, y))
    path, home = root / "data.npy", root / "home"
    images = np.lib.format.open_memmap(path, "r+")
    recipe = Recipe(path, asked=LENET)
    for number in range(3):
        images[number, 0, 0] ^= 255
        time.sleep(SETTLED_SECONDS + 0.2)
        in_child(partial(recipe, home), 60)
        before = path.stat().st_ctime_ns
        images[number + 4, 0, 0] ^= 255
        equal += path.stat().st_ctime_ns == before
        got, want = (in_child(partial(recipe, place), 60).value[0]["all"] for place in (home, root / f"fresh{number}"))
        a, b = (np.frombuffer(data, np.float32) for data in (got, want))
        stale += not np.allclose(a, b, rtol=1e-5, atol=1e-6)
    return Line("never stale", "pixels through a memory map", 3, {"stale": stale}, {"of equal times": equal})
