"""Which training a command means, and whether it was begun before."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from featx.core.packages import version
from featx.core.run_folder import MODEL_FILE, Run, Runs, jsonable
from featx.core.run_locks import LOCK_FILE, YOUNG_SECONDS, held
from featx.data.splits import Partition
from featx.errors import FeatureError, OptionError, StoreError
from featx.models.backbones import Backbone
from featx.models.content import content_of, digests_of, same
from featx.training.checkpoints import Checkpoints, differences, folder_has_checkpoint, read_checkpoint
from featx.training.config import TrainConfig
from featx.training.direction import augmentation_of
from featx.training.world import World

KIND = "train"
SUBJECT = ("source", "backbone", "mode", "seed")
"""Trainings that have these in common are the same, perhaps with other options."""

HARMLESS = ("checkpoint_minutes", "sync_batch_norm", "calibrate")
"""Options that may differ when a training goes on, or count only where they are not the default."""


PROGRAMS = ("featx", "torch", "torchvision")
"""Whose versions the processes of a training must share."""

GO_ON, STRICT = "go-on", "strict"
"""Ways to resume: what cannot go on begins anew and says so, or is an error."""


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
    notes : list of str
        Why others of the same command, or nearly the same, were not gone on with.
    """

    run: Run
    checkpoints: Checkpoints
    finished: bool = False
    resumed: bool = False
    notes: list[str] = field(default_factory=list)


def identity_of(partition: Partition, backbone: Backbone, config: TrainConfig) -> dict[str, Any]:
    """Return everything that a training's weights depend on, JSON-able, by the options' names."""
    found: dict[str, Any] = jsonable(
        {
            "source": partition.train.source.spec,  # for people: the rows are known by their content
            **content_of(partition, backbone),
            **{name: value for name, value in asdict(config).items() if name not in HARMLESS},
            # As they are, whether they were given or are the mode's or the source's own.
            "lr": config.peak_lr,
            "weight_decay": config.decay,
            "augment": augmentation_of(config, partition.train.source).kind,
            **({"standardize": True} if config.mode == "frozen" else {}),
            **({} if config.sync_batch_norm else {"sync_batch_norm": False}),
            **({} if config.calibrate is None else {"calibrate": config.calibrate}),
        }
    )
    return found


def check_same(world: World, identity: dict[str, Any]) -> None:
    """Check that all processes train the same, with the same programs.

    Raises
    ------
    OptionError
        This process has other images, options or versions than process 0.
    """
    own = {**identity, "versions": {name: version(name) for name in PROGRAMS}}
    first = world.share(own)
    if not same(first, own):
        raise OptionError(
            f"process {world.rank} trains something else than process 0: {differences(first, own) or 'other content'}",
            "give all processes the same command, data and versions",
        )


@contextlib.contextmanager
def training_run(
    home: Path,
    command: list[str],
    identity: dict[str, Any],
    minutes: float,
    *,
    resume: str | None,
    continuing: bool = False,
) -> Iterator[Job]:
    """Open a training's folder: to go on with the newest that was begun with this very command, or a new one.

    One that ends without a record is removed, unless a checkpoint is in it that it can go on from.

    Parameters
    ----------
    home : Path
        Where the runs are.
    command : list of str
        For the record.
    identity : dict
        From `identity_of`.
    minutes : float
        Between checkpoints within an epoch.
    resume : str, optional
        None begins anew. With `GO_ON` a training that was begun goes on, whatever else lies there; where it cannot, or
        none was begun, a new one begins and its notes say why. With `STRICT` that is an error.
    continuing : bool
        An earlier seed of the same command was gone on with: that nothing was begun of this one is no error.

    Raises
    ------
    OptionError, StoreError
        With `STRICT`, nothing was begun that can go on; says why.
    """
    runs = Runs(home)
    _tidy(runs)
    with contextlib.ExitStack() as stack:
        search = _Search(runs, command, identity, minutes, stack)
        job = search.find() if resume else None
        if job is None:
            if resume == STRICT and (search.blocked or not continuing):
                raise OptionError(search.refusal(), "--resume alone begins anew where nothing can go on")
            run = runs.new(KIND, command)
            stack.enter_context(held(run))
            job = Job(run, Checkpoints(run, identity, minutes), notes=[*search.blocked, *search.others])
        if job.finished:
            yield job
            return
        try:
            yield job
        except FeatureError:
            # It would diverge again at the same step.
            job.run.discard()
            raise
        finally:
            if job.run.is_recorded:
                job.checkpoints.clear()
            elif not folder_has_checkpoint(job.run.path):
                job.run.discard()


def _tidy(runs: Runs) -> None:
    """Remove the folders of trainings that were killed before there was anything to go on from."""
    for run in runs.unfinished(KIND, []):
        with contextlib.suppress(OSError, StoreError):
            lock = run.path / LOCK_FILE
            if folder_has_checkpoint(run.path) or time.time() - lock.stat().st_mtime < YOUNG_SECONDS:
                continue
            with held(run) as mine:
                if mine:
                    run.discard()


class _Search:
    """Looks for a training that was begun before.

    Attributes
    ----------
    blocked : list of str
        Why trainings of this very command cannot go on.
    others : list of str
        What differs in unfinished ones of the same source, network, mode and seed.
    """

    def __init__(
        self,
        runs: Runs,
        command: list[str],
        identity: dict[str, Any],
        minutes: float,
        stack: contextlib.ExitStack,
    ) -> None:
        self._runs, self._command, self._identity, self._minutes = runs, command, identity, minutes
        self._stack = stack
        self.blocked: list[str] = []
        self.others: list[str] = []

    def find(self) -> Job | None:
        """Return the newest training of this identity that can go on, or else one that is finished."""
        for run in self._runs.unfinished(KIND, self._command):
            with contextlib.suppress(StoreError):  # without a readable checkpoint nobody knows whose it is
                other = read_checkpoint(run)["identity"]
                if same(other, self._identity):
                    if job := self._opened(run):
                        return job
                elif all(other.get(name) == self._identity[name] for name in SUBJECT):
                    self.others.append(f"run {run.id} has other options: {differences(other, self._identity)}")
        digests = digests_of(self._identity)
        for run in reversed(self._runs.list()):
            with contextlib.suppress(StoreError):
                if run.read().get("identity") in digests and (run.path / MODEL_FILE).is_file():
                    return Job(run, self._checkpoints(run), finished=True, resumed=True)
        return None

    def _opened(self, run: Run) -> Job | None:
        """Hold a run and read its state; None where another process has it, or the state is damaged."""
        with contextlib.ExitStack() as own:
            if not own.enter_context(held(run)):
                self.blocked.append(f"run {run.id} is being trained by another process")
                return None
            checkpoints = self._checkpoints(run)
            try:
                checkpoints.prepare()
            except StoreError as exc:
                self.blocked.append(f"run {run.id} cannot go on: {exc.message}")
                return None
            self._stack.enter_context(own.pop_all())
            return Job(run, checkpoints, resumed=True, notes=list(self.blocked))

    def _checkpoints(self, run: Run) -> Checkpoints:
        return Checkpoints(run, self._identity, self._minutes)

    def refusal(self) -> str:
        """Say why nothing goes on."""
        if self.blocked:
            return "; ".join(self.blocked)
        return "; ".join(["no training with these options was begun", *self.others[:1]])
