"""Values as people read them: escaped names, sizes, counts, durations."""

from __future__ import annotations

from collections.abc import Sequence

from featx.errors import first_few
from featx.reports.tables import counted as counted

PREFIXES = "KMGTP"
FEW = 20
"""So many classes are named, each of them."""


def human_count(n: float) -> str:
    """Return a count as text, three digits and a prefix: ``12``, ``4.10 K``, ``1.81 G``."""
    if n < 1000:
        return f"{n:.0f}"
    power = 0
    while n >= 999.5 and power < len(PREFIXES):
        n, power = n / 1000, power + 1
    digits = 2 if n < 9.995 else 1 if n < 99.95 else 0
    return f"{n:.{digits}f} {PREFIXES[power - 1]}"


def human_bytes(n: float) -> str:
    """Return bytes as text: ``512 B``, ``4.10 kB``, ``1.50 MB``."""
    return f"{n:.0f} B" if n < 1000 else human_count(n).replace("K", "k") + "B"


def human_seconds(seconds: float) -> str:
    """Return a duration as text: ``8 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def human_age(seconds: float) -> str:
    """Return how long ago as text: ``now``, ``5 min``, ``3 h``, ``12 d``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return "now"


def class_line(classes: Sequence[str]) -> str:
    """Return how many classes there are, and all their names where they are few."""
    named = first_few(classes, FEW if len(classes) <= FEW else 3)
    return f"{counted(len(classes), 'class', 'classes')}: {named}"
