"""``featx cache merge``: what several jobs computed, each in a store of its own, brought together."""

from __future__ import annotations

from pathlib import Path

import click

from featx.cli import options
from featx.cli.cache_verify import MEGABYTE, counter
from featx.cli.output import Output
from featx.cli.text import counted, human_bytes


@click.command("merge")
@click.argument("stores", metavar="STORE...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Check everything, copy nothing.")
@click.option("--partial", is_flag=True, help="Also keys that lack shards; `featx extract` computes those.")
@options.common
def merge(out: Output, home: Path, stores: tuple[str, ...], dry_run: bool, partial: bool) -> None:
    """Copy features from other stores into this one.

    STORE is the home of another store, for example that of one of many jobs that each computed some shards. Together
    they must hold every shard of each key, computed under one plan; copies of images that another job computed may be
    missing: use --partial then. Everything is checked before the first file is written, and the other stores are not
    changed.

    \b
    Examples:
      featx cache merge job1 job2 job3 --home all
      featx cache merge job* --dry-run
    """
    from featx.cache.merge import check_parts, copy_parts, plan_merge
    from featx.cache.store import FeatureStore

    store = FeatureStore(home)
    homes = list(dict.fromkeys(FeatureStore(name).home for name in stores))
    parts = plan_merge(store, homes, partial=partial)
    total = sum(part.bytes for part in parts)
    with out.progress("MB") as progress:
        check_parts(parts, counter(lambda done: progress("check", done // MEGABYTE, total // MEGABYTE)))
        if not dry_run:
            out.kept = "copied shards are kept, the same command resumes from there"
            copy_parts(store, parts, counter(lambda done: progress("copy", done // MEGABYTE, total // MEGABYTE)))
    verb = "would copy" if dry_run else "copied"
    for part in parts:
        name = f"{part.digest[:12]}, {part.n_rows:,} rows"
        if part.whole:
            out.say(f"kept {name}: it is already complete")
        else:
            out.say(f"{verb} {counted(len(part.shards), 'shard', 'shards')} of {name}, {human_bytes(part.bytes)}")
    if not parts:
        out.say("nothing to merge")
    out.result(
        {
            "home": home,
            "merged": [
                {"digest": part.digest, "shards": len(part.shards), "bytes": part.bytes, "whole_before": part.whole}
                for part in parts
            ],
            "bytes": total,
            "dry_run": dry_run,
        }
    )
