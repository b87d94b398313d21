"""From a recipe to the rows of its table: lists multiply, defaults are filled in, every value is checked."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from featx.core.backbone_names import PIXELS
from featx.core.concatenation import Feature, parse_feature
from featx.core.specs import BackboneConfig, ExtractConfig, LayerSpec, Views
from featx.data.split_options import SplitOptions
from featx.errors import OptionError, suggest
from featx.probes.config import FitConfig
from featx.recipes.experiment import ROW, Experiment
from featx.recipes.fields import FIT, KEYS, MODE, OF_A_NETWORK, OWN, TRAIN, checked, is_sequence
from featx.recipes.naming import name_of
from featx.recipes.recipe import Raw, RawRow, kinds_of
from featx.runs.fit_identity import unused
from featx.training.config import TrainConfig

MAX_ROWS = 1000
MAX_SEEDS = 1000
SHARED_NETWORK = OF_A_NETWORK - {"precision"}


@dataclass(frozen=True)
class Recipe:
    """A table to run.

    Parameters
    ----------
    name, title : str
        What its files are named by; one line for people.
    draw, columns : tuple of str
        See `featx.recipes.recipe.Raw`.
    experiments : tuple of Experiment
        The rows.
    """

    name: str
    title: str
    draw: tuple[str, ...]
    columns: tuple[str, ...]
    experiments: tuple[Experiment, ...]


def expand(raw: Raw) -> Recipe:
    """Return the rows that a recipe means.

    Raises
    ------
    OptionError
        A value that an option does not take, an option that a row has no use for, rows without a source or with the
        same name, more than `MAX_ROWS`, a ``row:NAME`` that is not there or stands on itself.
    """
    found: list[Experiment] = []
    for row in raw.rows:
        made: list[Experiment] = []
        for experiment in _of_row(raw, row):
            made.append(experiment)
            if len(found) + len(made) > MAX_ROWS:
                raise OptionError(f"recipe {raw.name} has more than {MAX_ROWS:,} rows", "shorten its lists")
        _check_idle(row, made)
        found += made
    _check_names(raw.name, found)
    _check_rows(found)
    return Recipe(raw.name, raw.title, raw.draw, raw.columns, tuple(found))


def _of_row(raw: Raw, row: RawRow) -> Iterator[Experiment]:
    asked = row.keys.get(MODE, raw.defaults.get(MODE, FIT))
    modes = _some(row, MODE, asked)
    for mode in modes:
        checked(row.place, MODE, mode, OWN[MODE])
    kinds = kinds_of(raw, row)
    idle = [key for key in row.keys if not any(key in KEYS[kind] for kind in kinds)]
    if idle:
        what = "a fit" if kinds == {FIT} else "a training"
        raise OptionError(f"{row.place}: {idle[0]} has no use in {what}", f"leave it out, or give another {MODE}")
    pairs = [(at, backbone, mode) for mode in modes for at, backbone in enumerate(_backbones(raw, row, mode))]
    told = [name for name, some in (("backbone", {at for at, *_ in pairs}), (MODE, modes)) if len(some) > 1]
    for _, backbone, mode in sorted(pairs, key=lambda pair: pair[0]):
        kind = FIT if mode == FIT else TRAIN
        own = {key: value for key, value in row.keys.items() if key in KEYS[kind]}
        keys = {**_taken(raw, kind, mode, backbone), **own, MODE: mode, "backbone": backbone}
        yield from _multiplied(raw, row, kind, keys, told)


def _backbones(raw: Raw, row: RawRow, mode: Any) -> list[Any]:
    kind = FIT if mode == FIT else TRAIN
    found = row.keys.get("backbone", raw.of_kind[kind].get("backbone", raw.defaults.get("backbone", "")))
    return _some(row, "backbone", found)


def _some(row: RawRow, key: str, value: Any) -> list[Any]:
    """Return a key's values, of which each makes a row: none at all would leave the row out in silence."""
    if value == []:
        raise OptionError(f"{row.place}: {key} is an empty list, expected one value or more", "leave it out")
    return value if isinstance(value, list) else [value]


def _taken(raw: Raw, kind: str, mode: Any, backbone: Any) -> dict[str, Any]:
    """Return what a row takes from the defaults: what it has a use for."""
    found = {key: value for key, value in {**raw.defaults, **raw.of_kind[kind]}.items() if key in KEYS[kind]}
    idle: set[str] = set()
    if backbone == PIXELS:
        idle = OF_A_NETWORK | {"layer", "best_of"}
    elif isinstance(backbone, str) and backbone.startswith(ROW):
        idle = SHARED_NETWORK
    elif mode == "scratch":
        idle = {"weights"}
    return {key: value for key, value in found.items() if key not in idle}


def _multiplied(raw: Raw, row: RawRow, kind: str, keys: dict[str, Any], varied: Sequence[str]) -> Iterator[Experiment]:
    lists = {key: _some(row, key, v) for key, v in keys.items() if key != "seeds" and _multiplies(key, v)}
    told = [*varied, *(key for key in lists if len(lists[key]) > 1)]
    for values in itertools.product(*lists.values()):
        chosen = {**keys, **dict(zip(lists, values, strict=True))}
        whole = {key: checked(row.place, key, value, KEYS[kind][key]) for key, value in chosen.items()}
        yield _experiment(raw, row, kind, whole, told)


def _multiplies(key: str, value: Any) -> bool:
    return isinstance(value, list) and (not is_sequence(key) or any(isinstance(part, list) for part in value))


def _experiment(raw: Raw, row: RawRow, kind: str, keys: Mapping[str, Any], told: Sequence[str]) -> Experiment:
    source = keys.get("source", "")
    if not source:
        hint = f"give it: `featx run {raw.name} --set source=FOLDER`, or a name such as cifar10"
        raise OptionError(f"recipe {raw.name} names no source; it needs {raw.needs}", hint)
    if not keys["backbone"]:
        raise OptionError(f"{row.place} has no backbone", f'give backbone = "resnet18", or "{PIXELS}"')
    name = name_of(row, keys, told)
    try:
        how = _made(FitConfig, keys) if kind == FIT else _made(TrainConfig, keys)
        layers, rows = _layers(row, keys) if kind == FIT else (), _made(SplitOptions, keys)
        several = len(layers) > 1 or any(layer.is_pattern for layer in layers)
        rows.check_choices((*how.choosers, *(("the choice of a layer",) if several else ())))
        views = _made(Views, keys) if kind == FIT else Views()
        return Experiment(
            name=name,
            source=source,
            backbone=keys["backbone"],
            how=how,
            layers=layers,
            network=_made(BackboneConfig, {**keys, "views": views}),
            extraction=_made(ExtractConfig, keys) if kind == FIT else ExtractConfig(),
            rows=rows,
            seeds=_seeds(row, keys.get("seeds", (0,))),
            bench=keys.get("bench", False),
        )
    except OptionError as exc:
        known = exc.message.startswith(row.place)
        raise exc if known else OptionError(f"{row.place}: {exc.message}", exc.hint) from exc


def _made(cls: Any, keys: Mapping[str, Any]) -> Any:
    names = {field.name for field in dataclasses.fields(cls)} - {"seed"}
    return cls(**{name: keys[name] for name in names if name in keys})


def _layers(row: RawRow, keys: Mapping[str, Any]) -> tuple[Feature, ...]:
    given = [key for key in ("layer", "best_of") if key in keys]
    if len(given) == 2 and ("best_of" in row.keys) != ("layer" in row.keys):
        given = [key for key in given if key in row.keys]
    if keys["backbone"] == PIXELS:
        if given:
            raise OptionError(f"{row.place}: {given[0]} has no use on raw pixels", "leave it out")
        return (LayerSpec(PIXELS),)
    if len(given) != 1:
        found = "both layer and best_of" if given else "no layer"
        raise OptionError(f"{row.place} has {found}, expected one of them", 'for example layer = "avgpool"')
    value = keys[given[0]]
    texts = (value,) if isinstance(value, str) else value
    return tuple(dict.fromkeys(parse_feature(text) for text in texts))


def _seeds(row: RawRow, seeds: Sequence[int]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds) or min(seeds) < 0 or len(seeds) > MAX_SEEDS:
        raise OptionError(
            f"{row.place}: seeds are {list(seeds)[:20]}, expected each once, from 0, at most {MAX_SEEDS:,}",
            "for example seeds = [0, 1, 2]",
        )
    return tuple(seeds)


def _check_idle(row: RawRow, made: Sequence[Experiment]) -> None:
    """Refuse what a row says itself and none of its fits has a use for, such as C beside a sweep that chooses it."""
    fits = [e.how for e in made if isinstance(e.how, FitConfig)]
    if len(fits) < len(made) or not fits:
        return
    idle = set.intersection(*(unused(config) for config in fits)) - {"halving"}  # false has the effect that it says
    given = [key for key in row.keys if key in idle]
    if given:
        how = f"head {fits[0].head}" + (f", sweep {fits[0].sweep}" if fits[0].sweep else "")
        raise OptionError(f"{row.place}: {given[0]} would have no effect with {how}", "leave one or the other out")


def _check_names(recipe: str, found: Sequence[Experiment]) -> None:
    names = [experiment.name for experiment in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise OptionError(f"recipe {recipe} has two rows called {twice!r:.80}", "give each [[row]] a name of its own")


def _check_rows(found: Sequence[Experiment]) -> None:
    """Refuse ``row:NAME`` that is no training of this recipe, or that stands on itself."""
    trained = {e.name for e in found if isinstance(e.how, TrainConfig)}
    graph: dict[str, list[str]] = {}
    for experiment in found:
        asked = [str(text) for text in (experiment.backbone, getattr(experiment.how, "init_head", None)) if text]
        graph[experiment.name] = [text.removeprefix(ROW) for text in asked if text.startswith(ROW)]
        for name in graph[experiment.name]:
            if name not in trained:
                hint = suggest(name, trained) or f"rows that train: {', '.join(sorted(trained)) or 'none'}"
                raise OptionError(
                    f"row {experiment.name!r:.60} stands on {ROW}{name:.60}, which no training is called", hint
                )
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        raise OptionError(f"rows stand on each other: {' -> '.join(exc.args[1])}", "let one begin elsewhere") from exc
