"""What a shell offers after the tab key: backbones, runs and layers; networks are remembered, as torch loads slowly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from featx.core.backbone_names import ALIASES, RUN, is_run
from featx.core.packages import version
from featx.core.paths import home_folder
from featx.core.specs import BackboneConfig
from featx.errors import FeatxError, OptionError
from featx.models.families import FAMILIES, plain_names, prefixes, versions

POOLINGS = ("avg", "max", "avg2", "cls")


def complete_backbone(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the networks whose names begin so; timm's only after its prefix, as there are more than a thousand."""
    if is_run(incomplete):
        return _runs(ctx, incomplete)
    prefix, colon, _ = incomplete.partition(":")
    if colon:
        return [name for name in _names_after(ctx, prefix + colon) if name.startswith(incomplete)]
    known = [*_remembered(ctx, {"what": "names"}, plain_names), *ALIASES, *prefixes(), RUN]
    return [name for name in sorted(known) if name.startswith(incomplete)]


def complete_weights(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str] | list[CompletionItem]:
    """Offer the kinds of weights that have names, and the training runs; else files."""
    if is_run(incomplete):
        return _runs(ctx, incomplete)
    words = [word for word in (BackboneConfig.weights, "random:", RUN) if word.startswith(incomplete)]
    return words or [CompletionItem(incomplete, type="file")]


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the ids of runs that hold a model, the last one first."""
    return [run for run in _ids(ctx, ("fit", "train")) if run.startswith(incomplete)]


def complete_any_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the ids of all runs, finished or not, the last one first."""
    from featx.core.run_folder import Runs

    ids = [run.id for run in Runs(ctx.params.get("home")).all()]
    return [run for run in reversed(ids) if run.startswith(incomplete)]


def complete_recipe(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the recipes that come with featx, and files."""
    from featx.recipes.builtin_recipes import built_in

    names = [CompletionItem(name, help=title) for name, title in built_in().items() if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="file")]


def complete_network(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer backbones, and runs as `complete_run` does."""
    return [*complete_run(ctx, param, incomplete), *complete_backbone(ctx, param, incomplete)]


def _runs(ctx: click.Context, incomplete: str) -> list[str]:
    return [name for run in _ids(ctx, ("train",)) if (name := f"{RUN}{run}").startswith(incomplete)]


def _ids(ctx: click.Context, kinds: tuple[str, ...]) -> list[str]:
    from featx.core.run_folder import Runs

    # The kind is part of the id: no record needs to be read.
    ids = [run.id for run in Runs(ctx.params.get("home")).list()]
    return [run for run in reversed(ids) if run.split("-")[2:3][0] in kinds]


def complete_layer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the layers of the backbone already on the line, and poolings after a colon."""
    node, colon, _ = incomplete.partition(":")
    if colon:
        return [line for line in (f"{node}:{pooling}" for pooling in POOLINGS) if line.startswith(incomplete)]
    backbone = ctx.params.get("backbone") or next(reversed(ctx.params.get("backbones") or ()), None)
    if not backbone:
        return []
    home = home_folder(ctx.params.get("home"))
    names = _remembered(ctx, {"what": "layers", "backbone": backbone}, lambda: _layers(backbone, home))
    return [name for name in names if name.startswith(incomplete)]


def _names_after(ctx: click.Context, prefix: str) -> list[str]:
    if prefix not in prefixes():  # a file or a module, whose functions nobody knows
        return []
    try:
        about = {"what": "names", "prefix": prefix, **versions(prefix)}
    except OptionError:  # its package is not installed
        return []
    return _remembered(ctx, about, FAMILIES[prefix].names)


def _remembered(ctx: click.Context, about: dict[str, str], find: Callable[[], list[str]]) -> list[str]:
    from featx.cache.memo import Memo

    # A line that is being typed may be wrong in any way: then there is nothing to offer, and nothing to say.
    try:
        memo = Memo(home_folder(ctx.params.get("home")))
        about = {**about, "featx": version("featx"), "torchvision": version("torchvision")}
        known: Any = memo.get("completion", about)
        if known is None:
            known = find()
            memo.put("completion", about, known)
        return [str(name) for name in known]
    except FeatxError:
        return []


def _layers(backbone: str, home: Path) -> list[str]:
    from featx.cache.memo import Memo
    from featx.graph.hooked import read_network
    from featx.models.backbones import resolve

    weights = BackboneConfig.weights if is_run(backbone) else "random:0"
    found = resolve(backbone, weights=weights, memo=Memo(home))
    return read_network(found.module(), found.left_out).names()
