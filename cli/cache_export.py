"""``featx cache export``: stored features as one plain file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from featx.cli import options
from featx.cli.given import refuse
from featx.cli.opening import open_sources
from featx.cli.output import Output
from featx.cli.targets import check_target
from featx.cli.text import human_bytes
from featx.errors import OptionError

if TYPE_CHECKING:
    from featx.cache.memo import Memo
    from featx.cache.plain import Named
    from featx.cache.store import FeatureStore
    from featx.data.sources import Source


@click.command("export")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", required=True, help="File to write.")
@click.option("--format", "kind", metavar="FORMAT", help="h5, npz, npy or parquet.  [default: from FILE's suffix]")
@click.option("--virtual", is_flag=True, help="Write an .h5 that links to the store's files instead of copying them.")
@click.option("--source", metavar="SOURCE", help="Source of the features; adds labels and classes.")
@options.selection
@options.common
def export_keys(
    out: Output,
    home: Path,
    keys: tuple[str, ...],
    output: Path,
    kind: str | None,
    virtual: bool,
    source: str | None,
    selection: options.RowSelection,
) -> None:
    """Write stored features as one plain file.

    h5py, NumPy or pandas open it without featx. An .h5 holds several keys, one data set per layer and split; .npz and
    .parquet hold one. They contain the ids, the key and, with --source, labels and classes, which the store does not
    keep. An .npy holds one key's features and nothing else.

    A --virtual file is small and links to the store by a relative path. If either is moved or the features are
    removed, HDF5 reads NaN for them and reports no error.

    --split, --limit, --per-class and --seed select the source's rows; give them as they were given to extract.

    \b
    Examples:
      featx cache export 3f2a -o features.npz
      featx cache export 3f2a 91bc -o features.h5 --source photos/
      featx cache export 3f2a -o small.h5 --virtual
    """
    from featx.cache.export import check_one, export, format_of
    from featx.cache.memo import Memo
    from featx.cache.store import FeatureStore

    check_target(output, source or "")
    kind = format_of(output, kind)
    store = FeatureStore(home)
    digests = list(dict.fromkeys(store.find(key).digest for key in keys))
    check_one(kind, len(digests))
    sources = sources_of(out, source, kind, selection, Memo(home))
    named = [open_table(store, digest, sources) for digest in digests]
    written = export(output, named, kind, virtual=virtual)
    if not sources and kind != "npy":
        out.note("written without labels, which the store does not keep; --source SOURCE adds them")
    tables = [
        {"digest": digest, "layer": layer, "split": split, "rows": len(table), "columns": table.shape[1]}
        for digest, (layer, split, table) in zip(digests, named, strict=True)
    ]
    out.say(f"wrote {output}, {human_bytes(written)}")
    left_out = {name: reason for _, _, table in named for _, name, reason in table.skipped}
    skipped = [{"id": name, "reason": reason} for name, reason in left_out.items()]
    out.skipped(skipped)
    document = {"output": output, "output_bytes": written, "format": kind, "virtual": virtual, "tables": tables}
    out.result({**document, "labels": bool(sources), "skipped": skipped})


def sources_of(out: Output, source: str | None, kind: str, selection: options.RowSelection, memo: Memo) -> list[Source]:
    """Open the splits that may give labels."""
    if source is None:
        if any(value is not None for value in (selection.split, selection.limit, selection.per_class, selection.root)):
            raise OptionError(
                "--split, --limit, --per-class and --root select rows of --source, which is not given", "add --source"
            )
        refuse(["seed"], "without --source")
        return []
    if kind == "npy":
        raise OptionError("an .npy file holds no labels, and --source was given", "write .npz, or leave --source out")
    chosen = open_sources(out, source, selection, memo)
    return list(chosen.values())


def open_table(store: FeatureStore, digest: str, sources: list[Source]) -> Named:
    """Open one key with the split of the source whose images it has."""
    table = store.open(digest)
    layer = str(table.key.get("layer"))
    if not sources:
        return layer, store.find(digest).split, table
    for split in sources:
        if len(split.ids) == table.key["n_rows"] and split.fingerprint() == table.key["rows"]:
            return layer, split.split, store.open(digest, split)
    raise OptionError(
        f"no split of --source has the {table.key['n_rows']} images of {digest[:12]}",
        "give --split, --limit, --per-class and --seed as they were given to extract",
    )
