"""The script of a job array that extracts features: each job computes its part, and none waits for another."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from featx.cli.targets import check_report, is_device
from featx.core.atomic import write_bytes
from featx.core.outputs import write_output
from featx.errors import OptionError

MARK = "# A job array of featx"
"""Begins the second line of every script; one without it is somebody else's file."""

OTHERWISE = ("--array", "--tasks", "--home")
"""Options with a value that jobs are called without, or with another."""

SILENT = ("--json", "--quiet")
"""Options that are meant for this call."""

TASKS = 8
"""Jobs of an array, where nobody says how many."""

NUMBER = '"${SLURM_ARRAY_TASK_ID-$PBS_ARRAY_INDEX}"'
"""The job's number, as Slurm or PBS says it; the count is written out, so that one job can be run again by itself."""


def write_script(path: Path, arguments: Sequence[str], home: Path, tasks: int) -> None:
    """Write the script that computes in `tasks` jobs what ``featx extract ARGUMENTS`` computes in one.

    Parameters
    ----------
    path : Path
        To be written; a script of featx's is replaced, a device or a pipe is written into.
    arguments : sequence of str
        As they were typed, the options that ask for the script among them.
    home : Path
        Where the store is.
    tasks : int
        How many jobs.

    Raises
    ------
    OptionError
        The file is there and is not featx's.
    DiskFullError, StoreError
        It cannot be written.
    """
    check_report(path, "--array", "job.sh")
    text = script(arguments, home, tasks).encode("utf-8", "surrogateescape")
    if is_device(path):
        write_output(path, text)
        return
    if path.exists() and MARK.encode() not in path.read_bytes()[:200]:
        raise OptionError(f"{path} exists and is no job script of featx's", "remove it, or give another name")
    write_bytes(path, text)
    path.chmod(0o755)


def script(arguments: Sequence[str], home: Path, tasks: int) -> str:
    """Return the script's text."""
    command = shlex.join([sys.executable, "-m", "featx", "extract", "--home", str(home.absolute())])
    return "\n".join(
        (
            "#!/bin/sh",
            f"{MARK}: sbatch FILE (Slurm) or qsub FILE (PBS Professional, OpenPBS) submits it.",
            "# Add what your cluster asks for here: --partition, --time, --mem, --cpus-per-task, --gres.",
            "#SBATCH --job-name=featx",
            f"#SBATCH --array=0-{tasks - 1}",
            f"#PBS -J 0-{tasks - 1}",
            "set -eu",
            f"cd -- {shlex.quote(str(Path.cwd()))}",
            f"exec {command} --shard {NUMBER}/{tasks} {shlex.join(_for_jobs(arguments))}",
            "",
        )
    )


def _for_jobs(arguments: Sequence[str]) -> list[str]:
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, _ = word.partition("=")
        if name in OTHERWISE:
            if not equals:
                next(words, None)
        elif word not in SILENT:
            kept.append(word)
    return kept
