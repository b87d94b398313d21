"""Which training a command means, and whether it was begun before."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from featx.backbones import Backbone
from featx.checkpoints import (
    LOCK_FILE,
    Checkpoints,
    differences,
    folder_has_checkpoint,
    held,
    read_checkpoint,
)
from featx.direction import augmentation_of
from featx.errors import FeatureError, OptionError, StoreError
from featx.runs import Run, Runs, jsonable
from featx.specs import digest_of
from featx.splits import Partition
from featx.train_config import TrainConfig

KIND = "train"
SUBJECT = ("source", "backbone", "mode", "seed")
"""Trainings that have these in common are the same, perhaps with other options."""

HARMLESS = ("checkpoint_minutes",)
"""Options that may differ when a training goes on."""


SECONDS = 60.0
"""A folder that is younger may be that of a training which is about to begin."""


@dataclass
class Job:
    """A training's folder.

    Parameters
    ----------
    run : Run
        New, or begun before.
    checkpoints : Checkpoints
        Of it.
    finished : bool
        Whether it was finished already, so that nothing is left to do.
    resumed : bool
        Whether it was begun before.
    """

    run: Run
    checkpoints: Checkpoints
    finished: bool = False
    resumed: bool = False


def identity_of(partition: Partition, backbone: Backbone, config: TrainConfig) -> dict[str, Any]:
    """Return everything that a training's weights depend on, JSON-able, by the options' names."""
    rows = hashlib.sha256()
    for part in partition.parts().values():
        rows.update(part.source.fingerprint().encode())
        rows.update(part.rows.tobytes() + part.labels.tobytes())
    found: dict[str, Any] = jsonable(
        {
            "source": partition.train.source.spec,
            "rows": rows.hexdigest(),
            "images": {name: len(part) for name, part in partition.parts().items()},
            "classes": digest_of(list(partition.classes)),
            "backbone": backbone.name,
            "builder": backbone.options,
            "weights": backbone.weights_sha256,
            "code": backbone.code,
            "preprocess": backbone.preprocess.as_dict(),
            **{name: value for name, value in asdict(config).items() if name not in HARMLESS},
            # As they are, whether they were given or are the mode's or the source's own.
            "lr": config.peak_lr,
            "weight_decay": config.decay,
            "augment": augmentation_of(config, partition.train.source).kind,
            **({"standardize": True} if config.mode == "frozen" else {}),
        }
    )
    return found


@contextlib.contextmanager
def training_run(
    home: Path, command: list[str], identity: dict[str, Any], minutes: float, *, resume: bool
) -> Iterator[Job]:
    """Open a training's folder: with `resume` the newest that was begun with this very command, if there is one.

    One that ends without a record is removed, unless a checkpoint is in it that it can go on from.

    Raises
    ------
    OptionError
        There is an unfinished training of the same with other options; says which.
    """
    runs = Runs(home)
    _tidy(runs)
    found = _begun(runs, identity, command) if resume else None
    run = found or runs.new(KIND, command)
    job = Job(run, Checkpoints(run, identity, minutes), run.is_recorded, found is not None)
    if job.finished:
        yield job
        return
    with held(run) as mine:
        if not mine:
            raise StoreError(f"run {run.id} is being trained by another process", "wait for it, or leave --resume out")
        try:
            yield job
        except FeatureError:
            # It would diverge again at the same step.
            run.discard()
            raise
        finally:
            if run.is_recorded:
                job.checkpoints.clear()
            elif not folder_has_checkpoint(run.path):
                run.discard()


def _tidy(runs: Runs) -> None:
    """Remove the folders of trainings that were killed before there was anything to go on from."""
    for run in runs.unfinished(KIND, []):
        with contextlib.suppress(OSError, StoreError):
            lock = run.path / LOCK_FILE
            if folder_has_checkpoint(run.path) or time.time() - lock.stat().st_mtime < SECONDS:
                continue
            with held(run) as mine:
                if mine:
                    run.discard()


def _begun(runs: Runs, identity: dict[str, Any], command: list[str]) -> Run | None:
    """Return the newest run of this identity, unfinished ones first."""
    others = []
    for run in runs.unfinished(KIND, command):
        with contextlib.suppress(StoreError):  # without a readable checkpoint there is nothing to go on from
            other = read_checkpoint(run)["identity"]
            if other == identity:
                return run
            if all(other.get(name) == identity[name] for name in SUBJECT):
                others.append((run, differences(other, identity)))
    digest = digest_of(identity)
    for run in reversed(runs.list()):
        with contextlib.suppress(StoreError):
            if run.read().get("identity") == digest:
                return run
    if others:
        run, differs = others[0]
        raise OptionError(
            f"no training with these options was begun; that of run {run.id} has others: {differs}",
            "give the options that it was begun with, or begin anew without --resume",
        )
    return None
