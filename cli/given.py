"""Which options stand on the command line, so that one without a use is refused, and not ignored."""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.core import ParameterSource

from featx.errors import OptionError

OF_A_NETWORK = ("weights", "stem", "precision", "keep_weights")
"""Options without a use where no network runs."""


def is_given(name: str) -> bool:
    """Tell whether an option of this command stands on the command line."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def flags(names: Sequence[str]) -> str:
    """Return options as they are typed."""
    spelled = {param.name: param.opts[0] for param in click.get_current_context().command.params}
    return ", ".join(spelled[name] for name in names)


def refuse(names: Sequence[str], who: str) -> None:
    """Raise OptionError where one of these options is given; `who` has no use for it."""
    given = [name for name in names if is_given(name)]
    if given:
        raise OptionError(f"{who} no use for {flags(given)}", "leave it out")
