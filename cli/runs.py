"""``featx runs``: look through the runs and tidy them."""

from __future__ import annotations

import click

from featx.cli.groups import LazyGroup

COMMANDS = {
    "ls": ("featx.cli.runs_look", "list_runs", "List the runs, finished or not, with their sizes."),
    "info": ("featx.cli.runs_look", "show_run", "Show what a run recorded, and its files."),
    "rm": ("featx.cli.runs_remove", "remove", "Remove runs."),
    "gc": ("featx.cli.runs_remove", "collect", "Remove the oldest runs."),
}
"""Name -> module, attribute, help in one line: the command's own first line."""


@click.group(cls=LazyGroup, table=COMMANDS)
def runs() -> None:
    """List, inspect and clean up runs.

    RUN is an id that `featx runs ls` shows, or the beginning of one. For stored features, see `featx cache`.

    \b
    Examples:
      featx runs ls
      featx runs rm 20261121-19 --dry-run
    """
