"""One command with several seeds: its options, and what the runs say together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from featx.cli.output import Output
from featx.cli.text import counted
from featx.errors import OptionError


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise click.BadParameter(f"{value!r:.80}, expected whole numbers such as 0,1,2", ctx, param)
    seeds = tuple(map(int, parts))
    if len(set(seeds)) < len(seeds):
        raise click.BadParameter(f"{value!r:.80}, expected each seed once", ctx, param)
    return seeds


repeat = click.option(
    "--repeat",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    show_default=True,
    help="Run N times, with --seed and the seeds after it.",
)
seeds = click.option("--seeds", metavar="A,B,C", callback=_numbers, help="Run once with each of these seeds.")


def seeds_of(seed: int, repeat: int, seeds: tuple[int, ...] | None) -> list[int]:
    """Return the seeds that were asked for.

    Raises
    ------
    OptionError
        They were asked for in two ways.
    """
    if seeds is None:
        return list(range(seed, seed + repeat))
    context = click.get_current_context()
    names = {"seed": "--seed", "repeat": "--repeat"}
    given = [flag for name, flag in names.items() if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        raise OptionError(f"--seeds and {' and '.join(given)} were given", "leave one or the other out")
    return list(seeds)


def together(out: Output, records: Sequence[Mapping[str, Any]], shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Say what several seeds give together, and return the document of all; `shown` is what it says of each."""
    from featx.core.metrics import SCALARS
    from featx.core.statistics import summary
    from featx.reports.rows import is_number

    found: dict[str, dict[str, Any]] = {}
    for name in SCALARS:
        # Records of earlier featx have two of them.
        by_run: list[Mapping[str, Any]] = [record.get(name) or {} for record in records]
        values: dict[str, list[Any]] = {part: [scores.get(part) for scores in by_run] for part in by_run[0]}
        found[name] = {
            part: summary(told) for part, told in values.items() if all(is_number(v) and math.isfinite(v) for v in told)
        }
    rows = [
        (part, f"{s['mean']:.4f}", f"{s['std']:.4f}", f"{s['interval'][0]:.4f} to {s['interval'][1]:.4f}")
        for part, s in found["accuracy"].items()
    ]
    numbers = ", ".join(str(record["seed"]) for record in records)
    out.say(f"{counted(len(records), 'run', 'runs')}, seeds {numbers}; accuracy:")
    out.table(("part", ">mean", ">std", ">95 % interval"), rows)
    return {"runs": list(shown), **found}
