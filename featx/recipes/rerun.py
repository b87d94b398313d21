"""A run's record as the row of a recipe that repeats it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from featx.cache.store import FeatureStore
from featx.core import atomic
from featx.core.concatenation import Feature, parse_feature
from featx.core.paths import expanded, recorded_path
from featx.core.run_folder import RECORD_FILE, Run, Runs
from featx.core.specs import BackboneConfig, ExtractConfig, Views
from featx.data.exclusion import EXCLUDED_FILE
from featx.data.sources import is_list
from featx.data.split_options import SplitOptions
from featx.errors import CorruptStoreError, FeatxError, OptionError
from featx.models import factories
from featx.models.families import family_of
from featx.probes.config import FitConfig
from featx.recipes.experiment import Candidate, Experiment
from featx.training.config import TrainConfig

Record = Mapping[str, Any]
ADDED = ("calibrate", "sync_batch_norm", "halving")
"""Options that an older featx did not have, and whose defaults are what it did."""

Config = TypeVar("Config", FitConfig, TrainConfig, ExtractConfig, BackboneConfig)

LISTED = "`featx report` lists the runs"


def experiment_of(run: Run, record: Record, runs: Runs) -> Experiment:
    """Return what a run did, of one seed, from its record alone.

    Parameters
    ----------
    run, record : Run, mapping
        The run, and what it wrote down.
    runs : Runs
        Of the home: code that the record of a run from elsewhere names is not run.

    Raises
    ------
    OptionError
        A run of no such kind, or of an older featx whose record lacks what is needed; names the field.
    CorruptStoreError
        The record is damaged.
    """
    kind = record.get("kind")
    if kind not in ("fit", "train"):
        raise OptionError(f"run {run.id} is a {kind}, expected a run of `featx fit` or `featx train`", LISTED)
    try:
        return _experiment(run, record, ours=run.path.parent == runs.folder)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        if isinstance(exc, FeatxError):
            raise
        raise _damaged(run, exc) from exc


def on_this_machine(experiment: Experiment) -> tuple[Experiment, list[str]]:
    """Return an experiment on a device that is there, and what is to be said of that. Loads torch."""
    from featx.core.device import pick_device

    how = experiment.how
    device = how.device if isinstance(how, TrainConfig) else experiment.extraction.device
    try:
        pick_device(device)
    except OptionError as exc:
        auto = ExtractConfig.device
        note = f"{exc.message}: on {pick_device(auto)} instead"
        if isinstance(how, TrainConfig):
            return replace(experiment, how=replace(how, device=auto)), [note]
        return replace(experiment, extraction=replace(experiment.extraction, device=auto)), [note]
    return experiment, []


@contextmanager
def passing_store(home: Path) -> Iterator[FeatureStore]:
    """Give an empty store in a home, on the disk that has room for features, which is removed in the end.

    Those that killed processes left are removed first; `featx cache gc` and `featx runs gc` remove them too.

    Raises
    ------
    DiskFullError, StoreError
        The home cannot be written.
    """
    atomic.make_folder(home)
    atomic.tidy(home)
    folder = home / atomic.temporary_name()
    atomic.make_folder(folder)
    try:
        yield FeatureStore(folder)
    finally:
        atomic.remove_tree(folder)


def _damaged(run: Run, exc: Exception) -> CorruptStoreError:
    said = f"{type(exc).__name__}: {str(exc)[:160]}"
    return CorruptStoreError(f"the record of run {run.id} is damaged: {said}", _by_hand(run))


def _experiment(run: Run, record: Record, *, ours: bool) -> Experiment:
    fitted = record["kind"] == "fit"
    asked = record.get("asked") or _asked_of_an_older_one(run, record)
    backbone, candidates = str(asked["backbone"]), _candidates(run, record)
    for name in dict.fromkeys([backbone, *(one.backbone for one in candidates)]):
        _check_code(run, name, ours=ours)
    network, layers = _network(run, asked["network"]), _layers(record) if fitted else ()
    if candidates:
        backbone, network, layers = candidates[0].backbone, candidates[0].network, candidates[0].layers
    seed = int(_needed(run, record, "seed"))
    return Experiment(
        name=run.id,
        source=_as_named(str(record["source"]), str(asked["source"])),
        backbone=backbone,
        how=_fit_config(run, record) if fitted else _config(run, record, TrainConfig, {}),
        layers=layers,
        network=network,
        extraction=_config(run, record["extraction"], ExtractConfig, {}) if fitted else ExtractConfig(),
        rows=_rows(run, record, asked),
        seeds=(seed,),
        bench=record.get("inference") is not None,
        candidates=candidates,
    )


def _check_code(run: Run, backbone: str, *, ours: bool) -> None:
    if family_of(backbone).is_users_code and not ours:
        label = factories.parse(backbone).label
        raise OptionError(
            f"run {run.id} was made with {label}, and a run from elsewhere may not name code to run",
            f"run its command again, with -b {label}",
        )


def _candidates(run: Run, record: Record) -> tuple[Candidate, ...]:
    """Return the networks that one was chosen among; none where there was no choice."""
    lines = (record.get("choice") or {}).get("networks") or []
    return tuple(
        Candidate(
            str(line["name"]),
            str(line["asked"]["backbone"]),
            tuple(parse_feature(str(layer["layer"])) for layer in line["layers"]),
            _network(run, line["asked"]["network"]),
        )
        for line in lines
    )


def _asked_of_an_older_one(run: Run, record: Record) -> Record:
    """Return what a fit of an older featx says elsewhere of its images and its network; of a training nothing does."""
    source = str(record["source"])
    if record["kind"] == "train" or is_list(source):
        raise _lacking(run, "asked")
    backbone = str(record.get("origin") or record["backbone"])
    return {"source": source, "root": None, "backbone": backbone, "network": _needed(run, record, "extraction")}


def _as_named(spec: str, absolute: str) -> str:
    """Return the source as it was named, where that still means the same, so that reports see one source."""
    found = recorded_path(absolute)
    with suppress(OSError, ValueError):
        if os.path.samefile(expanded(recorded_path(spec)), found):
            return recorded_path(spec)
    return found


def _needed(run: Run, record: Record, name: str) -> Any:
    if name not in record:
        raise _lacking(run, name)
    return record[name]


def _lacking(run: Run, name: str) -> OptionError:
    return OptionError(
        f"the record of run {run.id} has no field {name!r}, which an older featx did not write",
        _by_hand(run),
    )


def _by_hand(run: Run) -> str:
    return f"run its command again, which stands in {run.path / RECORD_FILE}"


def _config(run: Run, values: Record, kind: type[Config], changed: Mapping[str, Any]) -> Config:
    """Return options as a record holds them, some changed; one that it lacks is an older featx's."""
    names = [field.name for field in fields(kind) if field.name in values or field.name not in ADDED]
    return kind(**{name: changed[name] if name in changed else _needed(run, values, name) for name in names})


def _fit_config(run: Run, record: Record) -> FitConfig:
    """Return a fit's options as they were before anything was chosen; those without effect are the defaults."""
    plain = asdict(FitConfig())
    search = record.get("search") or {}
    chosen = {"k": None} if search.get("over") == "k" else {}
    swept: tuple[str, ...] = ("C", "standardize", "normalize") if record.get("sweep") is not None else ()
    swept = ("C",) if record.get("halving") else swept
    unused = [name for name in plain if (name in record and record[name] is None) or name in swept]
    return _config(run, record, FitConfig, {name: plain[name] for name in unused} | chosen)


def _layers(record: Record) -> tuple[Feature, ...]:
    lines = record.get("layers") or [record]
    return tuple(parse_feature(str(line["layer"])) for line in lines)


def _network(run: Run, values: Record) -> BackboneConfig:
    views = dict(values.get("views") or {})
    weights = recorded_path(str(values["weights"]))
    return _config(run, values, BackboneConfig, {"views": Views(**views), "weights": weights})


def _rows(run: Run, record: Record, asked: Record) -> SplitOptions:
    """Return which rows were chosen: the splits that were taken, whether they were named or not."""
    splits = record["splits"]
    train, test = str(splits["train"]), str(splits["test"])
    root = asked.get("root")
    return SplitOptions(
        train_split=train,
        test_split=None if test == train else test,
        limit=_needed(run, record, "limit"),
        per_class=_needed(run, record, "per_class"),
        val_size=record.get("val_size", SplitOptions.val_size),
        root=None if root is None else recorded_path(str(root)),
        exclude=None if record.get("excluded") is None else str(run.path / EXCLUDED_FILE),
    )
