"""Which options are given on the command line, so that one without effect is refused, not ignored."""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.core import ParameterSource

from featx.errors import OptionError

OF_A_NETWORK = ("weights", "stem", "precision", "keep_weights")
"""Options without effect where no network runs."""


def is_given(name: str) -> bool:
    """Tell whether an option of this command is given on the command line."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def flags(names: Sequence[str]) -> str:
    """Return options as they are typed."""
    spelled = {param.name: param.opts[0] for param in click.get_current_context().command.params}
    return ", ".join(spelled[name] for name in names)


def refuse(names: Sequence[str], where: str) -> None:
    """Raise OptionError if one of these options is given, which would have no effect `where`."""
    given = [name for name in names if is_given(name)]
    if given:
        raise OptionError(f"{flags(given)} would have no effect {where}", f"leave out {flags(given)}")
