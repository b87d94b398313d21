"""After a loss of power, what is on the disk is right or is computed again."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from faults_edges import At, before_each, die
from faults_log import Disk, Op, Tree, lay, read_log, recorded, replay
from faults_table import Line, Options
from faults_work import Truth, Work, bad_receipts, run_alone, small_shards, temporaries, unreadable, works

from featx.cache.writer import FeatureWriter

PROMISE = "power loss"
HOME = "made/on/the/way"
"""Where the store lies on the disk: its parents are made too."""


def attack(options: Options) -> Iterator[Line]:
    """Cut the power after each operation, whatever of the unsynced is lost; read and resume each state."""
    small_shards()
    todo = [(work, Truth.of(work, options.scratch)) for work in works(options.scratch, 24)[:3]]
    for work, truth in todo:
        ops = record(work, options.scratch / f"{work.name}-log")
        yield cut(work, truth, ops, options.scratch, options.seed, 4)
    yield killed_first(*todo[0], options.scratch)


def killed_first(work: Work, truth: Truth, scratch: Path) -> Line:
    """Cut the power after a run that went on from a kill at each edge: what it said is done has to be there.

    A receipt that the killed process renamed without living to sync it was not promised, and may be lost.
    """
    faults: Counter[str] = Counter(lost=0, keys_lost=0, bad_receipts=0, unequal=0)
    number = 0
    while True:
        log = scratch / f"killed-{number}"
        done = _is_whole(record(work, log, number))
        ops = record(work, log, fresh=done)
        *_, disk = replay([op for op in ops if op[0] != "end"])
        tree = disk.kept()
        faults["lost"] += sum(path not in tree for path in disk.promised)
        home = _lay(tree, scratch)
        faults["bad_receipts"] += bad_receipts(home)
        faults["keys_lost"] += not any((home / "features").glob("?" * 64))
        work.run(home)
        faults["unequal"] += truth.differs(home)
        log.unlink()
        if done:
            return Line(PROMISE, "a kill before each change, resumed, then power lost", number, faults)
        number += 1


def record(work: Work, log: Path, kill_at: int | None = None, fresh: bool = True) -> list[Op]:
    """Run on a new disk, in a process of its own, and return what was done to the disk."""
    root = log.with_name("disk")
    if fresh:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        log.unlink(missing_ok=True)

    def logged() -> None:
        write = FeatureWriter._write
        with recorded(root, log) as note, before_each(At(-1 if kill_at is None else kill_at, die)):

            def promising(self: FeatureWriter, part: object) -> None:
                write(self, part)  # type: ignore[arg-type]
                note("promise", self.folder.shards / f"{part.number:05d}.json")  # type: ignore[attr-defined]

            FeatureWriter._write = promising  # type: ignore[method-assign, assignment]
            work.prepare(root / HOME)
            work.run(root / HOME)
            note("end", root)

    code = run_alone(logged)
    if code not in (0, -9):
        raise RuntimeError(f"the recorded run of {work.name} failed")
    ops = read_log(log, root)
    if _is_whole(ops):
        _check_log(ops, root)
    return ops


def _is_whole(ops: list[Op]) -> bool:
    return bool(ops) and ops[-1][0] == "end"


def cut(work: Work, truth: Truth, ops: list[Op], scratch: Path, seed: int, samples: int, step: int = 1) -> Line:
    """Read and resume every state that a loss of power may leave."""
    rng = np.random.default_rng(seed)
    faults: Counter[str] = Counter(bad_receipts=0, unreadable=0, lost=0, failed=0, unequal=0, temporary=0)
    seen: set[str] = set()
    states = 0
    ops = [op for op in ops if op[0] != "end"]
    for tree, promised in _states(ops, rng, samples, step):
        states += 1
        faults["lost"] += sum(path not in tree for path in promised)
        digest = _digest(tree)
        if digest in seen:
            continue
        seen.add(digest)
        home = _lay(tree, scratch)
        faults["bad_receipts"] += bad_receipts(home)
        faults["unreadable"] += unreadable(home)
        try:
            work.prepare(home)
            work.run(home)
        except Exception as exc:
            faults["failed"] += 1
            print(f"  failed: {exc}")
            continue
        faults["unequal"] += truth.differs(home)
        faults["temporary"] += len({path for path in temporaries(home) if path.parent.name != "memo"})
    return Line(
        PROMISE, f"unsynced data dropped, {work.name}", states, faults, {"operations": len(ops), "different": len(seen)}
    )


def _states(ops: list[Op], rng: np.random.Generator, samples: int, step: int) -> Iterator[tuple[Tree, list[str]]]:
    for disk in islice(replay(ops), 0, None, step):
        for tree in disk.states(rng, samples):
            yield tree, disk.promised


def _lay(tree: Tree, scratch: Path) -> Path:
    root = scratch / "after"
    shutil.rmtree(root, ignore_errors=True)
    lay(tree, root)
    return root / HOME


def _digest(tree: Tree) -> str:
    digest = hashlib.sha256()
    for path, data in sorted(tree.items()):
        digest.update(f"{path} {None if data is None else hashlib.sha256(data).hexdigest()}\n".encode())
    return digest.hexdigest()


def _check_log(ops: list[Op], root: Path) -> None:
    """Make sure that nothing changed the disk past the log."""
    disk = Disk()
    for op in ops:
        if op[0] != "end":
            disk.do(op)
    disk_now = next(tree for i, tree in enumerate(disk.states(np.random.default_rng(0), 0)) if i == 4)
    found = {str(p.relative_to(root)): None if p.is_dir() else p.read_bytes() for p in root.rglob("*")}
    if disk_now != found:
        raise RuntimeError("the log is not what was done to the disk")
