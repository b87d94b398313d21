"""Fits of several layers, here one after the other, or on an executor's workers, one layer or one draw a call."""

from __future__ import annotations

import secrets
import time
import warnings
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from featx.core.device import pick_device
from featx.core.executors.agreement import refuse_others
from featx.core.executors.executor import Executor, crowd_of
from featx.probes.config import FitConfig
from featx.probes.evaluation import Draw, HeadFit, draws_together, fit_head
from featx.probes.fit_task import FitReceipt, FitTask, check_worker, fit_stored, forget, streams, task_of
from featx.probes.halving import Halving
from featx.probes.layer_rows import LayerRows


@dataclass(frozen=True)
class Fitted:
    """One layer's fit.

    Parameters
    ----------
    head : HeadFit
        The fit.
    read, spent : float
        Seconds of reading, and of fitting and scoring; of several draws together.
    device : str
        Where it was fitted.
    threads : int
        Of torch.
    executor : str
        What made it, as `featx.core.executors.executor.crowd_of` says; empty where this process did.
    warnings : tuple of (type, str)
        What is still to be said.
    """

    head: HeadFit
    read: float
    spent: float
    device: str
    threads: int
    executor: str = ""
    warnings: tuple[tuple[type[Warning], str], ...] = field(default=())

    def speak(self) -> None:
        """Say what a worker would have said."""
        for kind, text in self.warnings:
            warnings.warn(text, kind, stacklevel=5)


def fit_here(rows: LayerRows, config: FitConfig, device: str, halving: Halving | None = None) -> Fitted:
    """Fit on one layer in this process."""
    clock = [time.perf_counter()]
    data = {use: rows.read(use, streams=streams(config)) for use in rows.partition.parts()}
    clock.append(time.perf_counter())
    where = str(pick_device(device))
    head = fit_head(data, config, len(rows.partition.classes), where, halving)
    clock.append(time.perf_counter())
    read, spent = np.diff(clock).tolist()
    return Fitted(head, read, spent, where, torch.get_num_threads())


def fit_on(
    executor: Executor, layers: Mapping[str, LayerRows], config: FitConfig, device: str, home: Path
) -> dict[str, Fitted]:
    """Fit on each layer on an executor's workers, which read the features from the store.

    Raises
    ------
    WorkerError
        A worker has other versions, or does not find the features.
    FeatxError
        As `featx.probes.evaluation.fit_head`.
    """
    run = secrets.token_hex(8)
    plain = [task_of(name, rows, config, device, str(home.absolute()), run) for name, rows in layers.items()]
    tasks = [part for task in plain for part in _draws(task)]
    try:
        refuse_others(executor, check_worker, plain[0])
        receipts: dict[int, FitReceipt] = {}
        with closing(executor.run(fit_stored, ((task,) for task in tasks))) as coming:
            for done in coming:
                receipts[done.index] = done.value
        crowd = crowd_of(executor)
    finally:
        executor.tell_all(forget, run)
    by_layer: dict[str, list[FitReceipt]] = {name: [] for name in layers}
    for index, task in enumerate(tasks):
        by_layer[task.layer].append(receipts[index])
    return {name: _together(found, config, crowd) for name, found in by_layer.items()}


def _draws(task: FitTask) -> list[FitTask]:
    if task.config.shots is None:
        return [task]
    return [replace(task, draw=draw) for draw in range(task.config.draws)]


def _together(found: list[FitReceipt], config: FitConfig, executor: str) -> Fitted:
    """Return a layer's fit, of all of its tasks in their order."""
    if config.shots is None:
        head = cast("HeadFit", found[0].fitted)
    else:
        head = draws_together([cast("Draw", receipt.fitted) for receipt in found], config)
    return Fitted(
        head,
        sum(receipt.read for receipt in found),
        sum(receipt.spent for receipt in found),
        found[0].device,
        found[0].threads,
        executor,
        tuple(said for receipt in found for said in receipt.warnings),
    )
