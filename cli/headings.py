"""Help whose options stand under headings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
import cloup

Command = TypeVar("Command", bound=Callable[..., Any])

NETWORK = "Network"
IMAGES = "Preprocessing"
ROWS = "Which images"
SEEDS = "Seeds"
COMPUTATION = "Computation"
OUTPUT = "Output"
WHERE = "Where it runs"


def under(heading: str, *options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Put options under a heading of their command's help, which is a `Headed`."""

    def decorate(function: Command) -> Command:
        before = len(_params(function))
        for option in reversed(options):
            function = option(function)
        for param in _params(function)[before:]:
            if not hasattr(param, "heading"):  # one that is nearer to it counts
                param.heading = heading  # type: ignore[attr-defined]
        return function

    return decorate


def _params(function: Any) -> list[click.Parameter]:
    """Return the parameters that decorators gave a function so far, as click keeps them."""
    return getattr(function, "__click_params__", [])


class Headed(cloup.Command):
    """A command whose options stand under the headings that `under` gave them, the rest under "Other options"."""

    def __init__(self, *args: Any, params: list[click.Parameter], **options: Any) -> None:
        groups: dict[str, cloup.OptionGroup] = {}
        for param in params:
            heading = getattr(param, "heading", None)
            if heading:
                param.group = groups.setdefault(heading, cloup.OptionGroup(heading))  # type: ignore[attr-defined]
        super().__init__(*args, params=params, **options)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what was typed, and keep it for `typed`."""
        ctx.meta[_TYPED] = tuple(args)
        return super().parse_args(ctx, args)


_TYPED = "featx.typed"


def typed() -> tuple[str, ...]:
    """Return what stands behind the command's name, as it was typed."""
    words: tuple[str, ...] = click.get_current_context().meta[_TYPED]
    return words
