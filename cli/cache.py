"""``featx cache``: look into the feature store and tidy it."""

from __future__ import annotations

import click

from featx.cli.groups import LazyGroup

COMMANDS = {
    "ls": ("featx.cli.cache_look", "list_entries", "List what the store holds, by last use."),
    "info": ("featx.cli.cache_look", "show_entry", "Show what a stored feature was computed from, and how."),
    "verify": ("featx.cli.cache_verify", "verify", "Check every byte of stored features."),
    "rm": ("featx.cli.cache_remove", "remove", "Remove stored features."),
    "gc": ("featx.cli.cache_remove", "collect", "Remove the least recently used features."),
    "merge": ("featx.cli.cache_merge", "merge", "Copy features from other stores into this one."),
    "export": ("featx.cli.cache_export", "export_keys", "Write stored features as one plain file."),
    "path": ("featx.cli.cache_look", "show_path", "Print the folder of the store, or of one key."),
}
"""Name -> module, attribute, help in one line: the command's own first line."""


@click.group(cls=LazyGroup, table=COMMANDS)
def cache() -> None:
    """Inspect and clean up the feature store.

    KEY is the beginning of a digest that `featx cache ls` shows.

    \b
    Examples:
      featx cache ls
      featx cache rm 3f2a --dry-run
    """
