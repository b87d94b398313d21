"""A recipe's row as a worker runs it: with one seed, into the home that all workers share."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import ExitStack, chdir, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

from featx.core.executors.agreement import CODE, check_versions, code_of
from featx.core.executors.worker import between_calls, one_of, worker_name
from featx.core.packages import version
from featx.errors import FeatxError, FeatxWarning, StoreError, WorkerError, speaking_options
from featx.models.content import same
from featx.models.families import versions
from featx.recipes.engine import Engine
from featx.recipes.experiment import Experiment

PROGRAMS = ("featx", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "h5py", "pillow")
"""What a row depends on beside featx's own code, and its network's."""

FROM = ("featx", "featx.cache")
"""Packages that a row comes from."""

Versions = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RowTask:
    """One row with one seed, whose images and network are there.

    Parameters
    ----------
    experiment : Experiment
        The row.
    seed : int
        Of every random choice.
    rows : tuple of Experiment
        All rows that others stand on.
    identity : mapping
        What this row must be: everything that its numbers depend on.
    home : str
        featx's home folder, which all workers share.
    folder : str
        The working folder that relative paths are meant in.
    command : tuple of str
        For the record.
    agreed : tuple of (str, str)
        Versions that a worker must have: `agreed`.
    crowd : str
        Which workers there are, for the record.
    run : str
        Names the rows that this is one of.
    on_command_line : bool
        How errors are told.
    """

    experiment: Experiment
    seed: int
    rows: tuple[Experiment, ...]
    identity: Mapping[str, Any]
    home: str
    folder: str
    command: tuple[str, ...]
    agreed: Versions
    crowd: str
    run: str
    on_command_line: bool


@dataclass(frozen=True)
class RowReceipt:
    """What came of a row.

    Parameters
    ----------
    run : str or None
        Id of its run, which is finished; None where the row failed.
    said : tuple of str
        What the user should know.
    warnings : tuple of (type, str)
        What is to be warned of.
    error : FeatxError or None
        Why it failed.
    """

    run: str | None
    said: tuple[str, ...] = ()
    warnings: tuple[tuple[type[Warning], str], ...] = ()
    error: FeatxError | None = None


def agreed(backbone: str = "pixels") -> Versions:
    """Return the versions of what a row depends on, and which code of featx this is.

    Raises
    ------
    OptionError
        For a network of a package that is not installed.
    """
    found = {**{name: version(name) for name in PROGRAMS}, **versions(backbone)}
    return (*found.items(), (CODE, code_of(*FROM)))


def check_worker(wanted: Versions) -> None:
    """Refuse to run rows here with other versions than those, WorkerError says which; and load what rows need.

    To load it is no part of a row's time, here as in one process.
    """
    for name in ("featx.probes.probe", "featx.runs.record"):
        import_module(name)
    check_versions(wanted, _installed(wanted) | {CODE: code_of(*FROM)})


def run_row(task: RowTask) -> RowReceipt:
    """Run a row into the shared home, or find it there; a training that was begun goes on.

    Raises
    ------
    WorkerError
        Another version is here, or the row would be of other images or another network.
    StoreError
        The home cannot be written.
    Stopped
        The recipe was interrupted; a training has kept its state.
    """
    with ExitStack() as stack:
        if task.on_command_line:
            stack.enter_context(speaking_options())
        check_worker(task.agreed)
        if os.path.isdir(task.folder):
            stack.enter_context(chdir(task.folder))
        stack.enter_context(one_of(task.crowd))
        heard = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always", FeatxWarning)
        engine, said = _engine(task)
        run, error = None, None
        try:
            _check_same(task, engine)
            run = str(engine.run(task.experiment, task.seed)["run"])
        except (StoreError, WorkerError):
            raise
        except FeatxError as exc:
            error = exc
        return RowReceipt(run, tuple(said), tuple((one.category, str(one.message)) for one in heard), error)


_engines: dict[str, tuple[Engine, list[str]]] = {}
"""What the next row of the same recipe needs again: its images and networks, and where is said what is to be said."""


def forget(run: str) -> None:
    """Let go of what is open for rows that are over, after the call that runs."""
    between_calls(lambda: _engines.pop(run, None) and None)


def _engine(task: RowTask) -> tuple[Engine, list[str]]:
    """Return what runs the rows of a recipe, and where it says what the user should know of this one."""
    if task.run not in _engines:
        _engines.clear()
        said: list[str] = []
        _engines[task.run] = Engine(Path(task.home), list(task.command), said.append, task.rows), said
    _engines[task.run][1].clear()
    return _engines[task.run]


def _check_same(task: RowTask, engine: Engine) -> None:
    here = engine.prepared(task.experiment, task.seed).identity
    if same(here, task.identity):
        return
    names = {*here, *task.identity}
    others = [name for name in sorted(names) if here.get(name) != task.identity.get(name)]
    raise WorkerError(
        f"worker {worker_name()} would run another {task.experiment.name!r:.80}: its {', '.join(others)} differ",
        "copy images and weights anew there, or name files in a folder that all workers share",
    )


def _installed(wanted: Versions) -> dict[str, str]:
    """Return the versions of those packages that are here."""
    found = {}
    for name, _ in wanted:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
