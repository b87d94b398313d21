"""Runs one row of a recipe with one seed: what is finished is taken, what was begun goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from featx.cache.memo import Memo
from featx.cache.store import FeatureStore
from featx.core.backbone_names import PIXELS, RUN, scratch_weights
from featx.core.concatenation import Feature
from featx.core.run_folder import Run, Runs
from featx.core.specs import BackboneConfig, LayerSpec, Progress, no_progress
from featx.data.splits import Partition
from featx.errors import FeatxError, OptionError, StoreError, suggest
from featx.models.backbone import Backbone
from featx.models.backbones import check, known
from featx.models.content import same
from featx.models.known_layers import check_layers
from featx.probes.config import FitConfig
from featx.recipes.experiment import ROW, Experiment
from featx.recipes.finished import Finished
from featx.recipes.opened import Opened
from featx.training.config import TrainConfig

if TYPE_CHECKING:
    from featx.probes.several_networks import NetworkLayers  # torch

Record = dict[str, Any]
Status = Literal["done", "started", "to do"]
DONE: Status = "done"
STARTED: Status = "started"
TO_DO: Status = "to do"


@dataclass(frozen=True)
class State:
    """How far a row is with one seed.

    Parameters
    ----------
    status : str
        ``done``, ``started`` (a training with a checkpoint that it can go on from), or ``to do``.
    run : str, optional
        Id of the run that is done or was begun.
    """

    status: Status
    run: str | None = None


@dataclass(frozen=True)
class Prepared:
    """A row with its seed put in, and what it is of.

    Parameters
    ----------
    how : FitConfig or TrainConfig
        With the seed.
    rows : Partition
        The images.
    network : Backbone
        The network.
    layers : tuple of LayerSpec or Concatenation
        Of a fit.
    identity : dict
        Everything that its numbers depend on.
    candidates : tuple of NetworkLayers
        Of a fit that chooses its network.
    """

    how: FitConfig | TrainConfig
    rows: Partition
    network: Backbone
    layers: tuple[Feature, ...]
    identity: dict[str, Any]
    candidates: tuple[NetworkLayers, ...] = ()


class Engine:
    """Runs the rows of a recipe, each with each of its seeds, as ordinary runs.

    Parameters
    ----------
    home : Path
        featx's home folder, where features and runs are kept.
    command : list of str
        For the records.
    say : callable
        Told what the user should know.
    experiments : iterable of Experiment
        The rows that others stand on, by ``row:NAME``.
    anew : bool
        Whether each row runs again, whatever is finished or begun.
    """

    def __init__(
        self,
        home: Path,
        command: list[str],
        say: Callable[[str], None],
        experiments: Iterable[Experiment] = (),
        *,
        anew: bool = False,
    ) -> None:
        self._anew = anew
        self.home, self.command = home, command
        self.runs, self.store = Runs(home), FeatureStore(home)
        self.opened = Opened(Memo(home), say)
        self.rows = tuple(experiments)
        self._rows = {experiment.name: experiment for experiment in self.rows}
        self._bases = {text.removeprefix(ROW) for row in self._rows.values() for text in stands_on(row).values()}
        self._finished = Finished(self.runs)
        self._prepared: dict[Any, Prepared] = {}
        self._failed: dict[tuple[str, int], FeatxError] = {}

    def check(self, experiment: Experiment) -> None:
        """Refuse a row that cannot be run, as far as that is told before its images are read.

        Raises
        ------
        FeatxError
            A network, weights or layers that cannot be had, or a row that is not there.
        """
        if experiment.backbone.startswith(ROW):
            self.row(experiment.backbone)
            return
        for other in experiment.candidates[1:]:
            check(other.backbone, other.network, self.opened.memo)
        network = self._network_config(experiment, experiment.seeds[0])
        check(experiment.backbone, network, self.opened.memo)
        facts = known(experiment.backbone, network, self.opened.memo) if experiment.layers else None
        if facts is not None:
            check_layers(facts, experiment.layers, self.opened.memo)

    def state(self, experiment: Experiment, seed: int) -> State:
        """Tell whether a row is done with one seed, was begun, or is still to do.

        Images are read, once for all rows, only where a run could be the one that is looked for.

        Raises
        ------
        FeatxError
            The images or the network cannot be had.
        """
        if self._anew:
            return State(TO_DO)
        kind = _kind(experiment)
        begun = self._begun() if kind == "train" else []
        if not begun and not self._finished.may_hold(kind, seed):
            return State(TO_DO)
        named = {**self._named(experiment, seed)}
        if None in named.values():
            return State(TO_DO)
        prepared = self._prepare(experiment, seed, named)
        done = self._finished.find(prepared.identity, with_model=experiment.name in self._bases)
        if done is not None:
            return State(DONE, done.id)
        started = next((run for run, identity in begun if same(identity, prepared.identity)), None)
        return State(STARTED, started.id) if started else State(TO_DO)

    def record(self, state: State) -> Record:
        """Return the record of a row that is done."""
        assert state.run is not None
        return self.runs.open(state.run).read()

    def prepared(self, experiment: Experiment, seed: int) -> Prepared:
        """Open what a row is of, with one seed; the rows that it stands on are done.

        Raises
        ------
        FeatxError
            The images or the network cannot be had.
        """
        return self._prepare(experiment, seed, self._named(experiment, seed))

    def epochs_of(self, state: State) -> int:
        """Return the epochs that are finished of a training that was begun; 0 of anything else."""
        if state.status != STARTED or state.run is None:
            return 0
        from featx.training.checkpoints import read_checkpoint  # heavy

        with suppress(StoreError):
            return int(read_checkpoint(Run(self.runs.folder / state.run))["epoch"])
        return 0

    def run(self, experiment: Experiment, seed: int, progress: Progress = no_progress) -> Record:
        """Return a row's record with one seed: of the run that is finished, or after it was gone on with or begun.

        A row that stands on another (``row:NAME``) has that one run first.

        Parameters
        ----------
        experiment : Experiment
            The row.
        seed : int
            Of every random choice.
        progress : callable
            Told of the images done.

        Raises
        ------
        FeatxError
            As a fit or a training; nothing half-written is left behind.
        KeyboardInterrupt
            A training keeps its state, and goes on when it is asked for again.
        """
        key = experiment.name, seed
        if key in self._failed:  # as it would again, when another row stands on it
            raise self._failed[key]
        try:
            state = self.state(experiment, seed)
            done = state.status == DONE
            return self._found(experiment, seed, state) if done else self._run(experiment, seed, progress)
        except StoreError:
            raise
        except FeatxError as exc:
            self._failed[key] = exc
            raise

    def _found(self, experiment: Experiment, seed: int, state: State) -> Record:
        """Return the record of a row that is done, its network timed where that is asked for and was not before."""
        record = self.record(state)
        if not isinstance(experiment.how, TrainConfig) or not experiment.bench or record.get("inference") is not None:
            return record
        from featx.recipes.timed import timed

        rows = self._prepare(experiment, seed, self._named(experiment, seed)).rows
        try:
            return timed(self.runs.open(record["run"]), rows.train.source, experiment.how.device, self.opened.memo)
        except FeatxError as exc:
            self.opened.say(f"{experiment.name}, seed {seed}: not timed: {exc.message}")
            return record

    def _run(self, experiment: Experiment, seed: int, progress: Progress) -> Record:
        named: dict[str, str | None] = {}
        for field, run in self._named(experiment, seed).items():
            text = str(getattr(experiment if field == "backbone" else experiment.how, field))
            named[field] = run or str(self.run(self.row(text), seed, progress)["run"])
        prepared = self._prepare(experiment, seed, named, progress)
        if isinstance(prepared.how, FitConfig):
            return self._fit(experiment, prepared, progress)
        return self._train(experiment, prepared, progress)

    def _fit(self, experiment: Experiment, it: Prepared, progress: Progress) -> Record:
        from featx.probes.several_networks import NetworkLayers, fit_networks
        from featx.runs.record import new_run, record_fit

        assert isinstance(it.how, FitConfig)
        extraction = experiment.extraction
        networks = it.candidates or (NetworkLayers("", it.network, it.layers),)
        with new_run(self.home, "fit", self.command) as run:
            best = fit_networks(it.rows, networks, self.store, extraction, it.how, progress)
            record_fit(
                run,
                it.rows,
                best.chosen.backbone,
                best.layer,
                extraction,
                best.result,
                best.layers,
                identity=it.identity,
                choice=best,
            )
            return run.read()

    def _train(self, experiment: Experiment, it: Prepared, progress: Progress) -> Record:
        from featx.runs.record import record_train
        from featx.training.resume import GO_ON, training_run
        from featx.training.timing import time_trained
        from featx.training.train import train

        assert isinstance(it.how, TrainConfig)
        resume, minutes = None if self._anew else GO_ON, it.how.checkpoint_minutes
        with training_run(self.home, self.command, it.identity, minutes, resume=resume) as job:
            for line in job.notes:
                self.opened.say(line)
            if not job.finished:
                result = train(
                    it.rows,
                    it.network,
                    it.how,
                    store=self.store,
                    progress=progress,
                    checkpoints=job.checkpoints,
                    runs=self.runs,
                )
                timing = time_trained(result, it.network, it.how) if experiment.bench else None
                record_train(job.run, it.rows, it.network, it.how, result, timing)
            return job.run.read()

    def row(self, text: str) -> Experiment:
        """Return the row that ``row:NAME`` means."""
        name = text.removeprefix(ROW)
        found = self._rows.get(name)
        if found is None or not isinstance(found.how, TrainConfig):
            what = "a row that trains a network" if found is None else "one that trains, and it is a fit"
            trained = [row.name for row in self._rows.values() if isinstance(row.how, TrainConfig)]
            raise OptionError(f"there is no row {name!r:.80}, expected {what}", suggest(name, trained))
        return found

    def _named(self, experiment: Experiment, seed: int) -> dict[str, str | None]:
        """Return by field the runs that a row's ``row:NAME`` are, None where they are not done."""
        found: dict[str, str | None] = {}
        for field, text in stands_on(experiment).items():
            state = self.state(self.row(text), seed)
            found[field] = state.run if state.status == DONE else None
        return found

    def _prepare(
        self, experiment: Experiment, seed: int, named: dict[str, str | None], progress: Progress = no_progress
    ) -> Prepared:
        """Put the seed and the named runs into a row, open what it is of, and tell its identity."""
        key = experiment, seed, tuple(named.items())
        if key not in self._prepared:
            self._prepared[key] = self._opened(experiment, seed, named, progress)
        return self._prepared[key]

    def _opened(self, experiment: Experiment, seed: int, named: dict[str, str | None], progress: Progress) -> Prepared:
        from featx.runs.fit_identity import fit_identity
        from featx.training.resume import identity_of

        how = replace(experiment.how, seed=seed)
        on_error = how.on_error if isinstance(how, TrainConfig) else experiment.extraction.on_error
        rows = self.opened.rows(experiment.source, experiment.rows, seed, on_error, progress)
        name = f"{RUN}{named['backbone']}" if "backbone" in named else experiment.backbone
        channels = rows.train.source.channels
        network = self.opened.network(name, self._network_config(experiment, seed), channels)
        if isinstance(how, TrainConfig):
            how = replace(how, init_head=named.get("init_head", how.init_head))
            return Prepared(how, rows, network, (), identity_of(rows, network, how))
        layers = experiment.layers or (LayerSpec(PIXELS),)
        candidates = self._candidates(experiment, channels)
        identity = fit_identity(rows, network, layers, experiment.extraction, how, candidates[1:])
        return Prepared(how, rows, network, layers, identity, candidates)

    def _candidates(self, experiment: Experiment, channels: int | None) -> tuple[NetworkLayers, ...]:
        """Open the networks that a fit chooses among."""
        if not experiment.candidates:
            return ()
        from featx.probes.several_networks import NetworkLayers

        return tuple(
            NetworkLayers(one.name, self.opened.network(one.backbone, one.network, channels), one.layers)
            for one in experiment.candidates
        )

    def _network_config(self, experiment: Experiment, seed: int) -> BackboneConfig:
        """Return how the network is looked up; from scratch its weights are drawn from the seed."""
        network, how = experiment.network, experiment.how
        if isinstance(how, TrainConfig) and how.mode == "scratch":
            return replace(network, weights=scratch_weights(network.weights, seed))
        return network

    def _begun(self) -> list[tuple[Run, dict[str, Any]]]:
        """Return the trainings that were begun and can go on, with what they are of."""
        unfinished = self.runs.unfinished("train", self.command)
        if not unfinished:
            return []
        from featx.training.checkpoints import read_checkpoint  # heavy

        found = []
        for run in unfinished:
            with suppress(StoreError):
                found.append((run, read_checkpoint(run)["identity"]))
        return found


def stands_on(experiment: Experiment) -> dict[str, str]:
    """Return by field the ``row:NAME`` that a row begins with."""
    fields = {"backbone": experiment.backbone, "init_head": getattr(experiment.how, "init_head", None)}
    return {field: text for field, text in fields.items() if isinstance(text, str) and text.startswith(ROW)}


def _kind(experiment: Experiment) -> str:
    return "fit" if isinstance(experiment.how, FitConfig) else "train"
