"""``featx demo``: everything featx does, on data that scikit-learn brings along."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from featx.cli import options
from featx.cli.output import Output
from featx.cli.targets import check_target

PICTURE = "demo.png"
"""The picture's name in featx's home folder, where no other place is asked for."""


@click.command
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"File to write the figure to.  [default: {PICTURE} in featx's home]",
)
@options.common
def demo(out: Output, home: Path, output: Path | None) -> None:
    """Run the whole comparison offline, on built-in data.

    A small network is pretrained on the digits 0 to 4, placed at random in a larger image. The digits 5 to 9 are then
    learnt from a few images each: by softmax regression on raw pixels, on random features and on the network's
    frozen layers, by fine-tuning it, and by training it from scratch.

    Everything is kept in featx's home (--home): nothing is written to the current folder.

    \b
    Examples:
      featx demo
      featx demo --output digits.png --json
    """
    if output is not None:
        check_target(output, "")
    from featx.runs.demo import run_demo

    picture = home / PICTURE if output is None else output
    result = run_demo(home, ["featx", *sys.argv[1:]], picture, out.note)
    columns = ("how 5 to 9 are learnt", ">trainable", ">test accuracy", ">95 % interval", ">seconds")
    rows = [
        (
            row["name"],
            f"{row['parameters']:,}",
            f"{row['accuracy']:.3f}",
            f"{row['interval'][0]:.3f} to {row['interval'][1]:.3f}",
            f"{row['seconds']:.2f}",
        )
        for row in result["rows"][1:]
    ]
    out.table(columns, rows)
    out.say(f"picture {picture}; {result['seconds']:.1f} s; `featx report` shows the runs")
    out.result(result)
