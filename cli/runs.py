"""``featx runs``: look through the runs and tidy them."""

from __future__ import annotations

import click

from featx.cli.groups import LazyGroup

COMMANDS = {
    "ls": ("featx.cli.runs_look", "list_runs", "List the runs, finished or not, with their sizes."),
    "info": ("featx.cli.runs_look", "show_run", "Show what a run is of, and what it keeps."),
    "rm": ("featx.cli.runs_remove", "remove", "Remove runs."),
    "gc": ("featx.cli.runs_remove", "collect", "Remove the oldest runs."),
}
"""Name -> module, attribute, help in one line: the command's own first line."""


@click.group(cls=LazyGroup, table=COMMANDS)
def runs() -> None:
    """Look through the runs and tidy them.

    RUN is an id that `featx runs ls` shows, or its beginning. Stored features are `featx cache`'s.

    \b
    Examples:
      featx runs ls
      featx runs rm 20261121-19 --dry-run
    """
