"""``run:ID`` as a backbone: what the record of a training run says of its network, told without torch."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from featx.core.backbone_names import DRAWN, RUN, is_run
from featx.core.recorded import HEAD, Recorded, recorded
from featx.core.run_folder import MODEL_FILE, Run, Runs
from featx.core.specs import BackboneConfig, PreprocessSpec
from featx.errors import CorruptStoreError, OptionError, WeightsError
from featx.models import factories
from featx.models.families import family_of
from featx.models.head_spec import HeadSpec


@dataclass(frozen=True)
class TrainedRun:
    """The network of a training run.

    Parameters
    ----------
    run : str
        ``run:ID``.
    file : str
        Its weights.
    name, options : str, dict
        Of the backbone that was trained.
    preprocess : PreprocessSpec
        What it was trained with.
    head : str
        What stands in the classifier's place, or on the convolutional base; see `HeadSpec`.
    n_classes : int
        Outputs of the head.
    code, origin : str or None, str
        As `Backbone`, for a user's own network.
    base : Recorded, optional
        What the head was trained on, where the run keeps its head alone.
    """

    run: str
    file: str
    name: str
    options: dict[str, Any]
    preprocess: PreprocessSpec
    head: str
    n_classes: int
    code: str | None
    origin: str
    base: Recorded | None = None


def find_held(name: str, weights: str, stem: str | None, home: str | os.PathLike[str] | None) -> TrainedRun | None:
    """Return the network that ``run:ID`` means as a backbone or as weights; None where neither is one.

    Parameters
    ----------
    name, weights, stem : str
        As `featx.models.backbones.resolve`.
    home : path, optional
        Where the runs are.

    Raises
    ------
    OptionError
        There is no such run, it holds no network, or another one than was asked for.
    WeightsError
        The run has no model.
    CorruptStoreError
        Its record is damaged.
    """
    if not is_run(name) and not is_run(weights):
        return None
    held = _held((name if is_run(name) else weights).removeprefix(RUN), home)
    if is_run(name):
        if weights not in (BackboneConfig.weights, name) and not weights.startswith(DRAWN):
            raise OptionError(
                f"{name[:80]} brings its own weights, and --weights {weights[:80]} was given", "leave --weights out"
            )
        if held.code is not None and not held.origin:
            raise OptionError(
                f"{held.run} holds {held.name}, and a run from elsewhere, or of an older featx, names no code to run",
                f"name it yourself: -b FILE.py:FACTORY --weights {name}",
            )
    else:
        held = _as_named(name, held)
    if stem is not None and stem != held.options.get("stem"):
        raise OptionError(f"{held.run} holds {held.name} without --stem {stem}", "leave --stem out")
    return held


def _as_named(name: str, held: TrainedRun) -> TrainedRun:
    """Check that the network asked for is the run's; a user's own is taken from where it was named."""
    own = factories.parse(name) if family_of(name).is_users_code else None
    asked = own.label if own else name
    # A network of timm's may be named without the tag of its weights.
    if asked != held.name and not held.name.startswith(f"{asked}."):
        raise OptionError(
            f"{held.run} holds {held.name}, and the backbone is {name[:80]}", f"use -b {held.run}, without --weights"
        )
    if own is None:
        return held
    origin = own.origin
    return replace(held, origin=origin, base=held.base and replace(held.base, origin=origin))


def _held(text: str, home: str | os.PathLike[str] | None) -> TrainedRun:
    runs = Runs(home)
    run = runs.open(text, "train")
    record = run.read()
    if record.get("kind") != "train":
        raise _no_network(run, record)
    file = run.path / MODEL_FILE
    if not file.is_file():
        raise WeightsError(f"run {run.id} has no {MODEL_FILE}", "train it again")
    # Code that a record names is run only where featx itself wrote the record.
    ours = run.path.parent == runs.folder
    try:
        return _read(f"{RUN}{run.id if ours else run.path}", run, record, ours)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        said = str(exc) if isinstance(exc, OptionError) else f"{type(exc).__name__}: {exc}"
        raise CorruptStoreError(f"the record of run {run.id} is damaged: {said[:160]}", "train it again") from exc


def _read(name: str, run: Run, record: dict[str, Any], ours: bool) -> TrainedRun:
    options = dict(record["options"])
    # Training takes the auxiliary heads off, and weights that are loaded need not be drawn with care.
    options |= {key: False for key in ("aux_logits", "init_weights") if key in options}
    code = record.get("code")
    return TrainedRun(
        run=name,
        file=str(run.path / MODEL_FILE),
        name=str(record["backbone"]),
        options=options,
        preprocess=PreprocessSpec.from_dict(record["preprocess"]),
        head=str(HeadSpec.parse(record["head"])),
        n_classes=len(record["classes"]),
        code=str(code) if family_of(record["backbone"]).is_users_code else None,
        origin=str(record.get("origin") or "") if ours else "",
        base=recorded(run.id, run.path, record, ours=ours) if record.get("kept") == HEAD else None,
    )


def _no_network(run: Run, record: dict[str, Any]) -> OptionError:
    if record.get("kind") == "fit":
        return OptionError(
            f"run {run.id} is a softmax regression on {record.get('backbone')}, expected a trained network",
            f"`featx predict {run.id} IMAGE...` uses it; `featx train` makes a network",
        )
    return OptionError(f"run {run.id} holds no network, expected one of `featx train`", "`featx report` lists the runs")
