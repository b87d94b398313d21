"""The options of ``featx compare``: which rows, how long, and with which seeds."""

from __future__ import annotations

import click

from featx.cli import options
from featx.cli.headings import COMPUTATION, under
from featx.core.specs import ExtractConfig
from featx.training.config import TrainConfig

MINUTES = 30.0
"""The budget where none is given."""

SEED_COUNT = 3

HOW_LONG = "How long"


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    return () if value is None else tuple(part.strip() for part in value.split(","))


def _seeds(ctx: click.Context, param: click.Parameter, value: str) -> int | tuple[int, ...]:
    """Return how many seeds, or which."""
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts) or value.strip() == "0":
        raise click.BadParameter(f"{value!r:.80}, expected a number such as 3, or seeds such as 0,1,2", ctx, param)
    numbers = tuple(map(int, parts))
    if len(set(numbers)) < len(numbers):
        raise click.BadParameter(f"{value!r:.80}, expected each seed once", ctx, param)
    return numbers if len(numbers) > 1 else numbers[0]


which = under(
    "Which rows",
    click.option("--only", metavar="NAMES", callback=_names, help=(
        "Only these rows: pixels, softmax, frozen, last-block, finetune, scratch, separated by commas."
    )),
    click.option("--without", metavar="NAMES", callback=_names, help="All rows but these."),
)  # fmt: skip
how_long = under(
    HOW_LONG,
    click.option(
        "--minutes",
        type=click.FloatRange(min=0, min_open=True),
        metavar="X",
        default=MINUTES,
        show_default=f"{MINUTES:g}",
        help="Time that there is: seeds, then rows that do not fit into it are left out.",
    ),
    click.option("--plan", is_flag=True, help="Show what would be run, and how long it would take, and stop."),
    click.option("--epochs", type=click.IntRange(min=1), metavar="N", help=(
        "Epochs of each training.  [default: by the number of images]"
    )),
    options.batch_size(TrainConfig.batch_size),
)  # fmt: skip
machine = options.gather(
    "extraction",
    ExtractConfig,
    (under(COMPUTATION, options.precision, options.device, options.workers, options.on_error),),
    ("precision", "device", "workers", "on_error"),
)
seeds = click.option(
    "--seeds",
    callback=_seeds,
    metavar="N",
    default=str(SEED_COUNT),
    show_default=True,
    help="Run each row with N seeds, --seed and those after it; or with each of these: A,B,C.",
)
