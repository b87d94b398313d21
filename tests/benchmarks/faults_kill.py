"""Killed at any moment, an extraction goes on where it stopped."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from faults_edges import At, before_each, die
from faults_table import Line, Options
from faults_work import (
    BLOCK_ROWS,
    Counters,
    Truth,
    Work,
    bad_receipts,
    count_images,
    ended,
    run_alone,
    small_shards,
    started,
    temporaries,
    unreadable,
    works,
)

PROMISE = "kill-safe"
IMAGES, EDGES, BEGUN = range(3)
"""Slots of the counters."""


def attack(options: Options) -> Iterator[Line]:
    """SIGKILL extractions at random moments, chains of them, and before every change of the disk."""
    small_shards()
    todo = [(work, Truth.of(work, options.scratch)) for work in works(options.scratch)]
    for i, (work, truth) in enumerate(todo):
        share = len(range(i, options.kills, len(todo)))
        yield at_random_moments(work, truth, options.scratch / "home", share, options.seed + i)
        yield before_every_edge(work, truth, options.scratch / "home", step=4 if i else 1)


def at_random_moments(work: Work, truth: Truth, home: Path, kills: int, seed: int) -> Line:
    """Kill, resume, kill, resume ... until a run comes to its end; anew until there were enough kills."""
    rng = np.random.default_rng(seed)
    longest = _duration(work, truth.fresh(home))
    faults: Counter[str] = Counter(corrupt=0, hangs=0, unequal=0, temporary=0, redone_too_much=0)
    done, chains, redone, longest_chain = 0, 0, 0, 0
    while done < kills:
        counters = Counters(3)
        killed = _chain(work, truth.fresh(home), counters, rng, longest, kills - done, faults)
        again = counters[IMAGES] - work.images
        faults["unequal"] += truth.differs(home)
        faults["redone_too_much"] += again > killed * BLOCK_ROWS
        done, chains, redone = done + killed, chains + 1, redone + again
        longest_chain = max(longest_chain, killed)
    notes = {
        "chains": chains,
        "longest": longest_chain,
        "shards redone a kill": f"{redone / BLOCK_ROWS / max(done, 1):.2f}",
    }
    return Line(PROMISE, f"SIGKILL at random moments, {work.name}", done, faults, notes)


def before_every_edge(work: Work, truth: Truth, home: Path, step: int = 1) -> Line:
    """Kill before each write, fsync, rename, mkdir and unlink, and resume."""
    faults: Counter[str] = Counter(corrupt=0, hangs=0, unequal=0, temporary=0, redone_too_much=0)
    counters = Counters(3)
    _survive(work, truth.fresh(home), counters, None)
    edges = counters[EDGES]
    attempts = range(0, edges, step)
    for number in attempts:
        counters = Counters(3)
        if _survive(work, truth.fresh(home), counters, number) != -9:
            faults["corrupt"] += 1
        faults["corrupt"] += bad_receipts(home) + unreadable(home)
        left = temporaries(home)
        code = _survive(work, home, counters, None)
        faults["hangs"] += code is None
        faults["corrupt"] += code not in (None, 0)
        faults["temporary"] += len(temporaries(home) | (left & temporaries(home)))
        faults["unequal"] += truth.differs(home)
        faults["redone_too_much"] += counters[IMAGES] - work.images > BLOCK_ROWS
    which = "every change" if step == 1 else f"every {step}th change"
    return Line(PROMISE, f"SIGKILL before {which} of the disk, {work.name}", len(attempts), faults)


def _duration(work: Work, home: Path) -> float:
    began = time.monotonic()
    run_alone(lambda: work.run(home))
    return time.monotonic() - began


def _chain(
    work: Work,
    home: Path,
    counters: Counters,
    rng: np.random.Generator,
    longest: float,
    most: int,
    faults: Counter[str],
) -> int:
    """Run until it is done; return how often it was killed."""

    def attempt() -> None:
        count_images(counters, IMAGES, lambda: counters.add(BEGUN))
        work.run(home)

    killed = 0
    while True:
        left, begun = temporaries(home), counters[BEGUN]
        process = started(attempt)
        if killed < most:
            process.join(rng.uniform(0, 0.9 * longest))
            process.kill()
        code = ended(process)
        faults["hangs"] += code is None
        faults["corrupt"] += code not in (None, 0, -9)
        faults["corrupt"] += bad_receipts(home) + unreadable(home)
        if code == 0 or counters[BEGUN] > begun:
            faults["temporary"] += len(left & temporaries(home))
        if code != -9:
            faults["temporary"] += len(temporaries(home))
            return killed
        killed += 1


def _survive(work: Work, home: Path, counters: Counters, kill_at: int | None) -> int | None:
    """Run to the end, or to an edge; return the exit code."""

    def attempt() -> None:
        count_images(counters, IMAGES)
        edge = At(-1 if kill_at is None else kill_at, die)
        with before_each(edge):
            work.run(home)
        counters.add(EDGES, edge.seen)

    return run_alone(attempt)
