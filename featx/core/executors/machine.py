"""How many processors this process may use, and how several share them."""

from __future__ import annotations

import os
import re

from featx.errors import OptionError

MOST_EACH = 8
"""So many processes may share a processor: some wait for a disk or a server."""


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_each(processes: int) -> int:
    """Return how many threads each of several processes has on this machine."""
    return max(1, processors() // processes)


def how_many(kind: str, text: str) -> int:
    """Return the number of processes that ``kind:N`` asks for; OptionError where it is none that makes sense."""
    most = MOST_EACH * processors()
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= most:
        asked = f"{kind}:{text[:40]} asks for {text[:40]!r}" if text else f"{kind} says no number of"
        raise OptionError(
            f"{asked} processes, expected a whole number from 1 to {most}",
            f"{kind}:{processors()} is one for each processor that there is",
        )
    return int(text)
