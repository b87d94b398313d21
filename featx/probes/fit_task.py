"""A fit as a worker makes it: the features are read from the store, and the labels come with the task."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from featx.cache.store import FeatureStore, FeatureTable
from featx.core.device import pick_device
from featx.core.executors.agreement import CODE, check_versions, code_of
from featx.core.executors.worker import between_calls, worker_name
from featx.core.packages import version
from featx.errors import StoreError, WorkerError, either, speaking_options
from featx.probes.config import FitConfig
from featx.probes.evaluation import Data, Draw, HeadFit, fit_draw, fit_head
from featx.probes.layer_rows import LayerRows, read_rows

PROGRAMS = ("featx", "torch", "numpy", "scipy", "scikit-learn", "h5py")
"""What a fit depends on beside featx's own code."""

FROM = ("featx.core", "featx.cache", "featx.probes")
"""Packages that a fit comes from."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FitTask:
    """One layer's fit, or one of its draws of few labels.

    Parameters
    ----------
    layer : str
        Its name.
    keys : mapping of str to tuple of str
        By part, the digests of the stored features whose columns stand side by side.
    rows, labels : mapping of str to ndarray of int64
        By part, rows of the source, and their class numbers.
    config : FitConfig
        What is fitted.
    classes : int
        How many there are.
    device : str
        As it was asked for.
    home : str
        Where the store is.
    agreed : tuple of (str, str)
        Versions that a worker must have: `agreed`.
    run : str
        Names the fits that this is one of.
    on_command_line : bool
        How errors are told.
    draw : int, optional
        Which; None is the whole fit.
    """

    layer: str
    keys: Mapping[str, tuple[str, ...]]
    rows: Mapping[str, Rows]
    labels: Mapping[str, Rows]
    config: FitConfig
    classes: int
    device: str
    home: str
    agreed: tuple[tuple[str, str], ...]
    run: str
    on_command_line: bool
    draw: int | None = None


@dataclass(frozen=True)
class FitReceipt:
    """What came of a task.

    Parameters
    ----------
    fitted : HeadFit or Draw
        The fit; of a draw, that.
    read, spent : float
        Seconds of reading, and of fitting and scoring.
    device : str
        Where it was fitted.
    threads : int
        Of torch.
    warnings : tuple of (type, str)
        What is to be said.
    """

    fitted: HeadFit | Draw
    read: float
    spent: float
    device: str
    threads: int
    warnings: tuple[tuple[type[Warning], str], ...]


def task_of(layer: str, rows: LayerRows, config: FitConfig, device: str, home: str, run: str) -> FitTask:
    """Return the fit of a layer as another process makes it."""
    parts = rows.partition.parts()
    return FitTask(
        layer=layer,
        keys={use: rows.keys(use) for use in parts},
        rows={use: rows.part(use).rows for use in parts},
        labels={use: rows.labels(use) for use in parts},
        config=config,
        classes=len(rows.partition.classes),
        device=device,
        home=home,
        agreed=agreed(),
        run=run,
        on_command_line=bool(either("yes", "")),
    )


def agreed() -> tuple[tuple[str, str], ...]:
    """Return the versions of what a fit depends on, and which code of featx this is."""
    return (*((name, version(name)) for name in PROGRAMS), (CODE, code_of(*FROM)))


def check_worker(task: FitTask) -> None:
    """Refuse to fit here what would not be what the client asked for.

    Raises
    ------
    WorkerError
        featx, torch or another package has another version here, or the store has not these features.
    """
    with speaking_options() if task.on_command_line else nullcontext():
        check_versions(task.agreed, dict(agreed()))
        for use in task.keys:
            _tables(task, use)


def streams(config: FitConfig) -> bool:
    """Tell whether a head can be fitted on rows that stay on the disk."""
    return config.head == "softmax" and config.sweep is None and not config.halving


def fit_stored(task: FitTask) -> FitReceipt:
    """Fit on stored features; the same wherever it runs, with as many threads.

    Raises
    ------
    WorkerError
        As `check_worker`.
    FeatxError
        As `featx.probes.evaluation.fit_head`.
    Stopped
        The fits were interrupted.
    """
    with speaking_options() if task.on_command_line else nullcontext(), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        clock = [time.perf_counter()]
        data, device = _data(task), str(pick_device(task.device))
        clock.append(time.perf_counter())
        fitted: HeadFit | Draw
        if task.draw is None:
            fitted = fit_head(data, task.config, task.classes, device)
        else:
            fitted = fit_draw(data, task.config, task.classes, device, task.draw)
        clock.append(time.perf_counter())
    read, spent = np.diff(clock).tolist()
    said = tuple((one.category, str(one.message)) for one in heard)
    return FitReceipt(fitted, read, spent, device, torch.get_num_threads(), said)


_held: dict[tuple[str, str], Data] = {}
"""Features that the next draw needs again: of one layer."""


def forget(run: str) -> None:
    """Let go of what is held for fits that are over, after the call that runs."""
    between_calls(lambda: _held.clear() if any(of == run for of, _ in _held) else None)


def _data(task: FitTask) -> Data:
    of = task.run, task.layer
    if of in _held:
        return _held[of]
    check_worker(task)  # once more: it may have joined since the client asked
    _held.clear()
    data = {use: _read(task, use) for use in task.rows}
    if task.draw is not None:
        _held[of] = data
    return data


def _read(task: FitTask, use: str) -> tuple[Any, Rows]:
    return read_rows(_tables(task, use), task.rows[use], streams=streams(task.config)), task.labels[use]


def _tables(task: FitTask, use: str) -> list[FeatureTable]:
    store = FeatureStore(task.home)
    try:
        return [store.open(key) for key in task.keys[use]]
    except StoreError as exc:
        raise WorkerError(
            f"worker {worker_name()} does not find the features of {task.layer} in {task.home}: {exc.message}",
            "give --home a folder that all workers share under this name",
        ) from exc
