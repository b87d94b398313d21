"""What a shell offers after the tab key: backbones and layers, remembered because torch takes seconds to load."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import click

from featx.errors import FeatxError, OptionError
from featx.home import home_folder
from featx.naming import ALIASES, TIMM, is_timm, versions

POOLINGS = ("avg", "max", "avg2", "cls")


def complete_backbone(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the networks whose names begin so; timm's only after its prefix, as there are more than a thousand."""
    if is_timm(incomplete):
        return [name for name in _timm_names(ctx) if name.startswith(incomplete)]
    known = [*_remembered(ctx, {"what": "names"}, _names), *ALIASES, TIMM]
    return [name for name in sorted(known) if name.startswith(incomplete)]


def complete_layer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the layers of the backbone that stands on the line already, and poolings after a colon."""
    node, colon, _ = incomplete.partition(":")
    if colon:
        return [line for line in (f"{node}:{pooling}" for pooling in POOLINGS) if line.startswith(incomplete)]
    backbone = ctx.params.get("backbone")
    if not backbone:
        return []
    names = _remembered(ctx, {"what": "layers", "backbone": backbone}, lambda: _layers(backbone))
    return [name for name in names if name.startswith(incomplete)]


def _timm_names(ctx: click.Context) -> list[str]:
    def find() -> list[str]:
        from featx.timm_networks import names

        return names()

    try:
        return _remembered(ctx, {"what": "names", "timm": versions(TIMM)["timm"]}, find)
    except OptionError:  # timm is not installed
        return []


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


def _names() -> list[str]:
    from featx.networks import names

    return names()


def _layers(backbone: str) -> list[str]:
    from featx.backbones import resolve
    from featx.graph import Traced

    found = resolve(backbone, weights="random:0")
    return Traced(found.module(), found.left_out).names()
