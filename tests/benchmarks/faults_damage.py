"""Every byte of a small store flipped, every length cut, files swapped, shards gone: right features or a refusal."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from faults_child import Outcome, command, in_children
from faults_table import Line, Options

from featx.cache.folder import KeyFolder
from featx.cache.store import FeatureStore
from featx.cache.upkeep import repair
from featx.cache.verify import verify_key
from featx.core.specs import ExtractConfig
from featx.data.sources import load_splits
from featx.data.splits import partition
from featx.extraction import fill_store
from featx.extraction.extract import extract
from featx.models.backbones import Backbone, resolve
from featx.probes.config import FitConfig
from featx.probes.probe import fit_probe

LAYER = "conv1:avg"
CONFIG = ExtractConfig(batch_size=4, device="cpu", workers=1)
REPAIR_EVERY, FIT_EVERY, COMMAND_EVERY = 5, 10, 60
"""Of so many attacks one goes on to a repair, a full fit, the real command; all others end with the features read."""


@dataclass
class Victim:
    """A small store of LeNet-5's features, a copy of it to be damaged, and what is right.

    Parameters
    ----------
    home, pristine : Path
        The store; a copy of its ``features``.
    source : Path
        The ``.npz`` of the images.
    backbone : Backbone
    right : tuple
        Features as bytes, ids, scores.
    """

    home: Path
    pristine: Path
    source: Path
    backbone: Backbone
    right: tuple[Any, ...] = ()

    @property
    def store(self) -> FeatureStore:
        return FeatureStore(self.home)

    @property
    def folder(self) -> Path:
        (path,) = (p for p in (self.home / "features").iterdir() if len(p.name) == 64)
        return path

    def restore(self) -> None:
        shutil.rmtree(self.home / "features")
        shutil.copytree(self.pristine, self.home / "features", symlinks=True)

    def features(self) -> tuple[Any, ...]:
        """Go the road of ``featx fit`` as far as the features."""
        sources = load_splits(self.source)
        found = extract(sources, self.backbone, [LAYER], self.store, CONFIG)
        (table,) = found.tables.values()
        return np.asarray(table.X).tobytes(), table.ids, table.skipped

    def fit(self) -> tuple[Any, ...]:
        """Go it to the end."""
        result = fit_probe(partition(load_splits(self.source)), self.backbone, LAYER, self.store, CONFIG, FitConfig())
        scores = {name: str(score) for name, score in result.scores.items()}
        return (*self.features(), json.dumps(scores, sort_keys=True))


def victim(scratch: Path) -> Victim:
    """Make a store of 24 rows, some of them equal, in three shards."""
    random_ = np.random.default_rng(0)
    X = random_.integers(0, 256, (24, 8, 8), np.uint8)
    X[[9, 20]] = X[[2, 3]]
    np.savez(scratch / "images.npz", X=X, y=np.arange(24) % 2)
    os.fsync = lambda fd: None  # nothing here is about power
    fill_store.plan_shard_rows = lambda n_rows, row_bytes: 8  # type: ignore[attr-defined]
    backbone = resolve("lenet5", weights="random:0", size=28, channels=1)
    made = Victim(scratch / "home", scratch / "pristine", scratch / "images.npz", backbone)
    first = made.fit()
    shutil.copytree(made.home / "features", made.pristine)
    made.right = made.fit()
    assert first == made.right
    return made


Attack = tuple[str, Path, Callable[[Path], None]]
"""What is done, to which file below the key's folder, and how."""


def corrupt(options: Options) -> Iterator[Line]:
    """Damage every file of a store in every way."""
    attacked = victim(options.scratch)
    names = [p.relative_to(attacked.folder) for p in sorted(attacked.folder.rglob("*")) if p.is_file()]
    names = [name for name in names if name.name not in ("used", "lock")]  # empty, never read
    for title, attacks in (
        ("every byte flipped", list(_flips(attacked.folder, names, options.seed))),
        ("every length cut, bytes appended", list(_cuts(attacked.folder, names))),
        ("files swapped", list(_swaps(names))),
    ):
        yield run(attacked, "corruption named", title, attacks)


def _flips(folder: Path, names: list[Path], seed: int) -> Iterator[Attack]:
    rng = random.Random(seed)
    for name in names:
        for at in range((folder / name).stat().st_size):
            yield f"byte {at} ^ {(mask := rng.randrange(1, 256))}", name, partial(flip, at=at, mask=mask)


def flip(path: Path, at: int, mask: int) -> None:
    """Change one byte in place."""
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ mask]))


def _cuts(folder: Path, names: list[Path]) -> Iterator[Attack]:
    for name in names:
        for size in range((folder / name).stat().st_size):
            yield f"cut to {size}", name, partial(os.truncate, length=size)
        for more in (b"\n", b"\0", b"}", b"\0" * 4096):
            yield f"{more[:1]!r} appended", name, partial(_append, more=more)


def _append(path: Path, more: bytes) -> None:
    with path.open("ab") as file:
        file.write(more)


def _swaps(names: list[Path]) -> Iterator[Attack]:
    for name in names:
        for other in names:
            if other != name:
                yield f"{other} in its place", name, partial(_put, other=other)


def _put(path: Path, other: Path) -> None:
    folder = path.parent.parent if path.parent.name == "shards" else path.parent
    shutil.copyfile(folder / other, path)


def run(attacked: Victim, promise: str, title: str, attacks: list[Attack]) -> Line:
    """Make each attack and look at the store through verify and through fit."""
    names = "wrong", "undetected", "crashes", "hangs", "other errors", "unnamed", "not exit 4", "not mended"
    faults: Counter[str] = Counter(dict.fromkeys(names, 0))
    notes: Counter[str] = Counter()
    works = [partial(_look, attacked, attack, number) for number, attack in enumerate(attacks)]
    for (what, name, _), outcome in zip(attacks, in_children(works), strict=True):
        for fault in judge(outcome, name):
            faults[fault] += 1
            print(f"  {fault}: {name}: {what}: {outcome.value}", flush=True)
        notes[outcome.value["kind"] if outcome.kind == "ok" else outcome.kind] += 1
        if outcome.kind == "ok":
            notes["real commands"] += outcome.value["command"] is not None
            notes["repaired"] += outcome.value["again"] is True
    return Line(promise, title, len(attacks), dict(faults), dict(sorted(notes.items())))


def _says_the_same(name: Path, before: bytes, path: Path) -> bool:
    """Tell whether JSON was damaged where it means nothing: a space, a last line end."""
    if name.suffix != ".json" or name.name == "ids.json" or not path.is_file():
        return False
    try:
        return bool(json.loads(before) == json.loads(path.read_bytes()))
    except ValueError:
        return False


def _look(attacked: Victim, attack: Attack, number: int) -> dict[str, Any]:
    """Attack a fresh copy; verify, read, and where that is refused repair and read again."""
    attacked.restore()
    folder, (_, name, change) = attacked.folder, attack
    text = (folder / name).read_bytes()
    change(folder / name)
    same = _says_the_same(name, text, folder / name)
    full, as_command = number % FIT_EVERY == 0, number % COMMAND_EVERY == 0
    findings = verify_key(KeyFolder(folder), lambda n: None)
    found: dict[str, Any] = {"detected": bool(findings.faults), "same": same, "command": None, "again": None}
    right = attacked.right if full else attacked.right[:3]
    before = _stamps(folder)
    road = attacked.fit if full else attacked.features
    if as_command:
        words = ("fit", attacked.source, "-b", "lenet5", "--weights", "random:0", "--size", "28", "-l", LAYER)
        found["command"] = command(*words, "--device", "cpu", "--batch-size", "4", home=attacked.home)
    try:
        found["kind"] = "right" if road() == right else "wrong"
    except Exception as exc:
        found |= {"kind": "refused", "exc": exc}
        if number % REPAIR_EVERY == 0:
            done = repair(attacked.store, findings)
            found["again"] = not done.left and road() == right
    if found["kind"] == "right" and _stamps(folder) != before:
        found["kind"] = "computed again"
    elif same and found["kind"] == "right":
        found["kind"] = "the same JSON"
    return found


def _stamps(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in sorted(folder.rglob("*.*")) if p.is_file()}


def judge(outcome: Outcome, name: Path) -> list[str]:
    """Return what is wrong with how an attack ended."""
    if outcome.kind != "ok":
        return [{"crash": "crashes", "hang": "hangs"}.get(outcome.kind, "other errors")]
    found = outcome.value
    faults = ["wrong"] if found["kind"] == "wrong" else []
    if not (found["detected"] or found["same"]):
        faults.append("undetected")
    if found["kind"] == "refused":
        faults += refusal_faults(found["exc"], name.name)
        faults += ["not mended"] if found["again"] is False else []
    if found["command"] is not None:
        code, said = found["command"]
        if "Traceback" in said or code not in (0, 4) or (code == 4 and "cache verify" not in said):
            faults.append("other errors")
        if code == 4 and found["kind"] != "refused":
            faults.append("not exit 4")
    return faults


def refusal_faults(exc: Exception, name: str) -> list[str]:
    """Return what a refusal lacks: the file's name, the command that mends, the class whose exit code is 4."""
    from featx.errors import CorruptStoreError, FeatxError

    if not isinstance(exc, FeatxError):
        return ["other errors"]
    unnamed = name not in exc.message or "--repair" not in exc.hint
    return ["unnamed"] * unnamed + ["not exit 4"] * (not isinstance(exc, CorruptStoreError))
