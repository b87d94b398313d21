"""Options that say where work runs: in this process, in others, on a cluster, or as one part of a job array."""

from __future__ import annotations

import click

from featx.cli.headings import WHERE, under
from featx.cli.output import Output
from featx.errors import OptionError, first_few

cluster = under(
    WHERE,
    click.option(
        "--cluster",
        metavar="WHERE",
        help="processes:N on this machine, local:N (Dask's), or a Dask scheduler: tcp://host:8786.  [default: here]",
    ),
)
"""--cluster."""

shard = under(
    WHERE,
    click.option(
        "--shard",
        metavar="I/N",
        help="Only the part I (from 0) of N; slurm and pbs/N take I from the job scheduler's variables.",
    ),
)
"""--shard."""


def executor_name(cluster: str | None, shard: str | None = None) -> str | None:
    """Return what `featx.core.executors.registry.executor_of` makes of these options; None is this process.

    Raises
    ------
    OptionError
        Both are given, or one that nothing is called.
    """
    if cluster is not None and shard is not None:
        raise OptionError(
            "--cluster and --shard were both given, expected one: a cluster shares the work out by itself",
            "leave one of them out",
        )
    if cluster is not None and cluster.partition(":")[0] == "shard":
        raise OptionError(f"--cluster {cluster:.80} is a part of a job array, no cluster", "for example --shard 0/4")
    name = cluster if shard is None else f"shard:{shard}"
    if name is not None:
        from featx.core.executors.registry import executor_of

        executor_of(name)  # refuses now what is mistyped; nothing is started before it is needed
    return name


def tell_lost(out: Output, lost: list[str]) -> None:
    """Note which workers went away."""
    if lost:
        out.note(f"warning: workers went away meanwhile: {first_few(lost)}; others did their part")
