"""What runs stand on: a training run's network, and the network that a fit or a frozen base was, found by its hash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from featx.cache.memo import Memo
from featx.core.backbone_names import RUN, is_run
from featx.core.recorded import Recorded
from featx.core.run_folder import MODEL_FILE, RECORD_FILE
from featx.errors import CorruptStoreError, OptionError, WeightsError
from featx.models.backbone import Backbone, remembered
from featx.models.facts import Inspection
from featx.models.families import family_of, versions
from featx.models.trained_run import TrainedRun, find_held
from featx.models.weights import existing

Resolve = Callable[..., Backbone]


def look_up_held(held: TrainedRun, memo: Memo | None, resolve: Resolve, base_weights: str | None = None) -> Backbone:
    """Return a run's network with its weights, and the preprocessing that it was trained with.

    Parameters
    ----------
    held : TrainedRun
        Of the run.
    resolve : callable
        `featx.models.backbones.resolve`, which stands above this module and calls it.
    base_weights : str, optional
        Where the weights lie that its head was trained on, as `look_up_recorded`.

    Raises
    ------
    OptionError, WeightsError, CorruptStoreError
        As `resolve`.
    """
    base = None if held.base is None else _base_of(held.base, memo, resolve, base_weights)

    def inspect() -> Inspection:
        from featx.models.rebuild import inspect_trained  # heavy

        return inspect_trained(held, base.module() if base else None)

    # Where the base lies does not matter: it was found to be the right one.
    about = {"held": asdict(replace(held, base=None)), "base": base and base.weights_sha256}
    about["versions"] = versions(held.name)
    return replace(remembered(about, held.origin or None, memo, True, inspect), held=held, base=base)


def _base_of(base: Recorded, memo: Memo | None, resolve: Resolve, weights: str | None) -> Backbone:
    try:
        return look_up_recorded(base, memo, resolve, weights)
    except WeightsError as exc:
        if weights:
            raise
        # Whoever asked may train on it, and only a prediction can be told of another place.
        raise WeightsError(exc.message, _put_back(base)) from exc


def look_up_recorded(found: Recorded, memo: Memo | None, resolve: Resolve, weights: str | None = None) -> Backbone:
    """Return the network that a run stands on, its tensors and its code being those that it was made with.

    Parameters
    ----------
    found : Recorded
        What the run's record says of it.
    resolve : callable
        As `look_up_held`.
    weights : str, optional
        A file, or ``run:ID``, that holds the tensors now; else those that the run keeps, else those that it names.

    Raises
    ------
    OptionError
        The code is no longer what it was, or may not be run.
    WeightsError
        The tensors are not there, or are others; says which are wanted.
    CorruptStoreError
        Runs that stand on each other in a circle, which somebody made up.
    """
    _check_origin(found)
    given = weights or found.kept
    try:
        network = _as_given(found, given, memo, resolve) if given else _as_named(found, memo, resolve)
    except RecursionError:
        raise CorruptStoreError(f"run {found.run} stands on itself", "run its command again") from None
    except (WeightsError, OptionError) as exc:
        if isinstance(exc, OptionError) and not is_run(given or found.weights):
            raise
        raise WeightsError(f"{found.wish}: {exc.message}", _where(found)) from exc
    if network.code != found.code:
        raise OptionError(f"the code of {found.name} changed since run {found.run} was made", "run its command again")
    if network.weights_sha256 != found.sha256:
        other = f"of SHA-256 {network.weights_sha256}"
        if given:
            raise WeightsError(f"{found.wish}, and {given} holds others, {other}", _where(found))
        raise WeightsError(f"{found.wish}: they are no longer those, but {other}", _where(found))
    return replace(network, preprocess=found.preprocess)


def _check_origin(found: Recorded) -> None:
    """Raise OptionError where the network is a user's own, and nothing may say where its code is."""
    if family_of(found.name).is_users_code and not found.origin:
        raise OptionError(
            f"run {found.run} was made with {found.name}, and a run from elsewhere may not name code to run",
            f"name it yourself: -b FILE.py:FACTORY --weights run:{found.run}",
        )


def _put_back(base: Recorded) -> str:
    place = base.kept or base.named_file
    if place:
        return f"put them back at {place}, or give `featx predict` or `featx export` --weights FILE where they lie now"
    return f"put {base.weights} back" if is_run(base.weights) else f"run the command of run {base.run} again"


def _where(found: Recorded) -> str:
    return f"put them back, or give `featx predict {found.run} IMAGE...` --weights FILE where they lie now"


def _as_named(found: Recorded, memo: Memo | None, resolve: Resolve) -> Backbone:
    weights = found.named_file or found.weights
    name = found.origin or found.name
    stem, made_for = (found.options.get(option) for option in ("stem", "img_size"))
    return resolve(name, weights=weights, stem=stem, size=made_for, channels=found.preprocess.channels, memo=memo)


def _as_given(found: Recorded, weights: str, memo: Memo | None, resolve: Resolve) -> Backbone:
    """Build the network as it was recorded, whatever its options would be for a file of unknown origin."""
    below = _on_other_weights(found, weights, memo, resolve)
    if below is not None:
        return below
    path = Path(weights).expanduser()
    if is_run(weights) or (path.name == MODEL_FILE and path.with_name(RECORD_FILE).is_file()):
        weights = weights if is_run(weights) else f"{RUN}{path.parent}"
        held = find_held(found.origin or found.name, weights, None, memo.home if memo else None)
        assert held is not None
        return look_up_held(held, memo, resolve)
    file = existing(weights)
    if found.held is not None:
        return look_up_held(_held_in(file, found), memo, resolve)

    def inspect() -> Inspection:
        from featx.models.inspection import inspect_recorded  # heavy

        return inspect_recorded(found.name, file, found.options, found.origin)

    about = {"recorded": [found.name, found.options, found.origin], "file": file, "versions": versions(found.name)}
    return remembered(about, found.origin or None, memo, True, inspect)


def _on_other_weights(found: Recorded, weights: str, memo: Memo | None, resolve: Resolve) -> Backbone | None:
    """Return the run's network that is wanted, where the weights are those that it stands on in its turn, or None."""
    if not is_run(found.weights) or weights == found.kept:
        return None
    try:
        held = find_held(found.origin or found.name, found.weights, None, memo.home if memo else None)
        return look_up_held(held, memo, resolve, weights) if held and held.base else None
    except (OptionError, WeightsError):
        return None


def _held_in(file: str, found: Recorded) -> TrainedRun:
    """Return a training run's network whose tensors are in a file of their own."""
    assert found.held is not None
    return TrainedRun(
        run=file,
        file=file,
        name=found.name,
        options=found.options,
        preprocess=found.preprocess,
        head=found.held["head"],
        n_classes=found.held["n_classes"],
        code=found.code,
        origin=found.origin,
    )
