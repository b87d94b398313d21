"""What the attacks of faults.py are given, and the lines that they return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What an attack works with.

    Parameters
    ----------
    scratch : Path
        An empty folder of its own, removed afterwards.
    kills : int
        At random moments, where an attack kills.
    seed : int
        Of all random choices.
    """

    scratch: Path
    kills: int = 500
    seed: int = 0


@dataclass
class Line:
    """One line of the table.

    Parameters
    ----------
    promise, attack : str
        What is promised; what was done to it.
    attempts : int
        How often.
    faults : mapping of str to int
        Counts that must be 0, by name: ``corrupt``, ``hangs``, ...
    notes : mapping of str to object
        What else was counted.
    """

    promise: str
    attack: str
    attempts: int
    faults: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, object] = field(default_factory=dict)

    @property
    def broken(self) -> bool:
        """Whether a promise was broken, or nothing was tried."""
        return not self.attempts or any(self.faults.values())


def show(line: Line) -> None:
    """Print a line as a row of a Markdown table."""
    counts = ", ".join(f"{name} {n}" for name, n in {**line.faults, **line.notes}.items())
    said = "BROKEN" if line.broken else "kept"
    print(f"| {line.promise} | {line.attack} | {line.attempts:,} | {counts} | {said} |", flush=True)
