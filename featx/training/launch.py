"""How a process was launched: alone, or as one of several that train together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from featx.errors import OptionError

ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
"""Where the processes of a training meet."""

LAUNCHER = "launch the processes with torchrun"


@dataclass(frozen=True)
class Launch:
    """What the environment says of this process.

    Parameters
    ----------
    rank, size : int
        Its number, from 0, and how many processes there are.
    local_rank, local_size : int
        The same on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process speaks, asks and writes for all."""
        return self.rank == 0


def launched(environment: Mapping[str, str] | None = None) -> Launch:
    """Read the variables that torchrun and other launchers set: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE.

    Without RANK or WORLD_SIZE, or with one process, it is alone.

    Raises
    ------
    OptionError
        They are no numbers, or do not fit each other.
    """
    given = os.environ if environment is None else environment
    if "RANK" not in given or "WORLD_SIZE" not in given or _number(given, "WORLD_SIZE") == 1:
        return Launch()
    rank, size = _number(given, "RANK"), _number(given, "WORLD_SIZE")
    local_rank = _number(given, "LOCAL_RANK") if "LOCAL_RANK" in given else rank
    local_size = _number(given, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in given else size
    if not (rank < size and local_rank < local_size <= size):
        raise OptionError(
            f"RANK is {rank} of WORLD_SIZE {size}, LOCAL_RANK {local_rank} of LOCAL_WORLD_SIZE {local_size}, "
            "expected each to be less than its number of processes",
            LAUNCHER,
        )
    return Launch(rank, size, local_rank, local_size)


def check_address(environment: Mapping[str, str] | None = None) -> None:
    """Raise OptionError where several processes are not told where they meet."""
    given = os.environ if environment is None else environment
    missing = [name for name in ADDRESS if not given.get(name)]
    if missing:
        raise OptionError(f"WORLD_SIZE is {given.get('WORLD_SIZE')}, and {' and '.join(missing)} is not set", LAUNCHER)


def _number(given: Mapping[str, str], name: str) -> int:
    text = given[name].strip()
    if not (text.isascii() and text.isdecimal()):
        raise OptionError(f"{name} is {given[name]!r:.40}, expected a whole number", LAUNCHER)
    return int(text)
