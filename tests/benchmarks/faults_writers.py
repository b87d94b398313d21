"""Several processes fill one key: the work is shared, and nothing depends on locks."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults_edges import At, die
from faults_table import Line, Options
from faults_work import (
    BLOCK_ROWS,
    Counters,
    Truth,
    Work,
    bad_receipts,
    count_images,
    ended,
    small_shards,
    started,
    temporaries,
    works,
)

from featx.extraction import rounds

PROMISE = "several writers"
HANGS_AFTER = 300.0
PROCESSES = (2, 8, 32)
LINGER = 1.5
ENDS = 4
"""Slot of the counters; those before it are the processes' own."""

Prepare = Callable[[], None]


def attack(options: Options) -> Iterator[Line]:
    """Fill one key from 2, 8 and 32 processes: with locks, with locks that all get, without any, with dead holders."""
    small_shards()
    todo = [(work, Truth.of(work, options.scratch)) for work in works(options.scratch)[:3]]
    home = options.scratch / "home"
    for kind, stub in LOCKS.items():
        for n in PROCESSES:
            yield together(todo, home, n, kind, stub)
    yield holders(todo, home, "killed in mid-block", linger_and_die)
    yield holders(todo, home, "stopped in mid-block, patience 1 s", stop)


def together(todo: list[tuple[Work, Truth]], home: Path, n: int, kind: str, stub: Prepare) -> Line:
    """Start `n` processes at once on each extraction."""
    faults: Counter[str] = Counter(corrupt=0, hangs=0, unequal=0, temporary=0)
    twice = 0
    for work, truth in todo:
        counters = Counters(n)
        truth.fresh(home)
        processes = [started(_filler(work, home, counters, slot, stub)) for slot in range(n)]
        _judge([ended(process, HANGS_AFTER) for process in processes], truth, home, faults)
        twice += sum(counters[slot] for slot in range(n)) - work.images
    counted = {"computed twice": twice}
    faults.update(counted if kind == "locks" else {})
    return Line(PROMISE, f"{n} at once, {kind}", n * len(todo), faults, {} if kind == "locks" else counted)


def holders(todo: list[tuple[Work, Truth]], home: Path, what: str, end: Prepare) -> Line:
    """Let the first process end in mid-block, with others waiting for it."""
    faults: Counter[str] = Counter(corrupt=0, hangs=0, unequal=0, temporary=0, redone_too_much=0)
    attempts = ends = 0
    for work, truth in todo:
        for batch in range(0, work.images // BLOCK_ROWS, 3):
            attempts += 1
            counters = Counters(5)
            truth.fresh(home)
            first = started(_filler(work, home, counters, 0, _nothing, At(batch, _noted(end, counters))))
            while not counters[0] and first.is_alive():
                time.sleep(0.01)
            others = [started(_filler(work, home, counters, i, _impatient(end))) for i in (1, 2, 3)]
            codes = [ended(process, HANGS_AFTER) for process in others]
            if end is stop:
                os.kill(first.pid or 0, signal.SIGCONT)
                codes.append(ended(first, HANGS_AFTER))
            faults["corrupt"] += ended(first) not in (-9, 0)
            _judge(codes, truth, home, faults)
            again = sum(counters[slot] for slot in range(4)) - work.images
            # A stopped holder's claims are overridden by each of the three that wait, and it goes on afterwards.
            faults["redone_too_much"] += end is linger_and_die and again > BLOCK_ROWS
            ends += counters[ENDS]
    return Line(PROMISE, f"holder {what}, 3 others", ends, faults, {"of runs": attempts})


def _noted(end: Prepare, counters: Counters) -> Prepare:
    """Count the holders that came to their end: others may have left too little for that."""

    def ending() -> None:
        counters.add(ENDS)
        end()

    return ending


def linger_and_die() -> None:
    """Be killed once the others have done all else and wait for this block."""
    time.sleep(LINGER)
    die()


def stop() -> None:
    """Stop this process, as a debugger or a suspended machine does."""
    os.kill(os.getpid(), signal.SIGSTOP)


def _filler(
    work: Work, home: Path, counters: Counters, slot: int, prepare: Prepare, then: Prepare | None = None
) -> Prepare:
    def fill() -> None:
        prepare()
        count_images(counters, slot, then)
        work.run(home)

    return fill


def _judge(codes: list[int | None], truth: Truth, home: Path, faults: Counter[str]) -> None:
    faults["hangs"] += codes.count(None)
    faults["corrupt"] += sum(code not in (None, 0) for code in codes) + bad_receipts(home)
    faults["unequal"] += truth.differs(home)
    # What a killed one left is for the next start to remove.
    faults["temporary"] += len({path for path in temporaries(home) if not _of_the_dead(path)})


def _of_the_dead(path: Path) -> bool:
    pid = int(path.name.split("-")[1])
    return not Path(f"/proc/{pid}").exists()


def _nothing() -> None:
    pass


def _impatient(end: Prepare) -> Prepare:
    def prepare() -> None:
        rounds.PATIENCE_SECONDS = 1.0 if end is stop else rounds.PATIENCE_SECONDS

    return prepare


def _locks_for_all() -> None:
    fcntl.lockf = fcntl.flock = lambda *args: None  # type: ignore[assignment]


def no_locks() -> None:
    """Fail as a file system without locks."""

    def refuse(*args: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    fcntl.lockf = fcntl.flock = refuse  # type: ignore[assignment]


LOCKS: dict[str, Prepare] = {"locks": _nothing, "locks that all get": _locks_for_all, "ENOLCK": no_locks}
