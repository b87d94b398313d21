"""Which part of the work falls to a job of an array: as it is told, or as the job scheduler's variables say."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from featx.errors import OptionError

MOST = 1_000_000
"""Parts of one array; schedulers take far fewer jobs."""

PBS_VARIABLES = ("PBS_ARRAY_INDEX", "PBS_ARRAYID")
"""Of PBS Professional and OpenPBS, and of Torque."""


@dataclass(frozen=True)
class Share:
    """The part `index` (from 0) of `count`."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not self.count:
            raise OptionError(f"shard {self.index}/0 is of no parts, expected one of 1 or more", "for example 0/4")
        if not 1 <= self.count <= MOST or not 0 <= self.index < self.count:
            last = max(min(self.count, MOST), 1) - 1
            raise OptionError(
                f"shard {self.index}/{self.count}, expected 0/{last + 1} to {last}/{last + 1}",
                "parts are counted from 0: an array of four is 0 to 3",
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def share_of(text: str, variables: Mapping[str, str] = os.environ) -> Share:
    """Return the share that a text means.

    Parameters
    ----------
    text : str
        ``i/n``, ``slurm`` or ``pbs/n``.
    variables : mapping
        The environment.

    Raises
    ------
    OptionError
        For other texts, and where the job scheduler's variables are not there or are of an irregular array.
    """
    numbers = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if numbers:
        return Share(int(numbers[1]), int(numbers[2]))
    kind, _, rest = text.partition("/")
    if kind not in SCHEDULERS:
        raise OptionError(
            f"shard {text[:80]!r}, expected i/n, such as 0/4, {' or '.join(SCHEDULERS)}",
            "0/4, 1/4, 2/4 and 3/4 are the four parts of a whole",
        )
    return SCHEDULERS[kind](rest, variables)


def _slurm(rest: str, variables: Mapping[str, str]) -> Share:
    if rest:
        raise OptionError(f"shard slurm/{rest[:80]}, expected slurm: it says itself how many parts there are", "")
    names = [f"SLURM_ARRAY_TASK_{part}" for part in ("ID", "MIN", "MAX", "COUNT")]
    number, first, last, count = (_whole(name, variables, "sbatch --array=0-7 FILE.sh") for name in names)
    step, odd = divmod(last - first, count - 1) if count > 1 else (1, 0)
    index, uneven = divmod(number - first, max(step, 1))
    if odd or uneven or step < 1:
        raise OptionError(
            f"Slurm's array has {count} tasks from {first} to {last} and this is {number}, expected equal steps",
            "use --array=0-7, or say which part this is: --shard $SLURM_ARRAY_TASK_ID/8",
        )
    return Share(index, count)


def _pbs(rest: str, variables: Mapping[str, str]) -> Share:
    if not re.fullmatch(r"[0-9]{1,9}", rest):
        raise OptionError(
            f"shard pbs{'/' if rest else ''}{rest[:80]}, expected pbs/n: PBS does not tell a job how many there are",
            "for #PBS -J 0-7 it is pbs/8",
        )
    name = next((name for name in PBS_VARIABLES if name in variables), PBS_VARIABLES[0])
    return Share(_whole(name, variables, "#PBS -J 0-7"), int(rest))


def _whole(name: str, variables: Mapping[str, str], hint: str) -> int:
    text = variables.get(name)
    if text is None or not re.fullmatch(r"[0-9]{1,9}", text):
        said = "is not set" if text is None else f"is {text[:20]!r}"
        raise OptionError(f"{name} {said}, expected a whole number: this is no job of an array", f"for example {hint}")
    return int(text)


SCHEDULERS: dict[str, Callable[[str, Mapping[str, str]], Share]] = {"slurm": _slurm, "pbs": _pbs}
"""What reads a job scheduler's variables, by the word that asks for it."""
