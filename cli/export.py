"""``featx export``: a run's whole model as one file that other programs run."""

from __future__ import annotations

from pathlib import Path

import click

from featx.cli import options
from featx.cli.completion import complete_run
from featx.cli.importing import importing
from featx.cli.output import Output
from featx.cli.targets import check_target
from featx.cli.text import counted, human_bytes


@click.command
@click.argument("run", shell_complete=complete_run)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="File to write: .onnx, .pt2 (torch.export) or .safetensors.",
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    metavar="N",
    default=32,
    show_default=True,
    help="Images on which the exported model is compared with featx.",
)
@click.option("--source", metavar="SOURCE", help="Where these images come from.  [default: the run's source]")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    metavar="X",
    default=1e-4,
    show_default=True,
    help="Largest difference of a logit that is accepted, relative to the largest one where that is above 1.",
)
@click.option(
    "--weights",
    metavar="FILE",
    help="File with the weights that the run was fitted on, if they have moved; they must be the same.",
)
@options.common
def export(
    out: Output,
    home: Path,
    run: str,
    output: Path,
    images: int,
    source: str | None,
    tolerance: float,
    weights: str | None,
) -> None:
    """Write a run's whole model as ONNX, torch.export or safetensors.

    RUN is the id, or the folder, of a run of `featx fit` or `featx train`. The file holds the network, cut off after
    what is needed, the head, the normalisation, the class names and a card of the run. Its input `image` is
    float32 (n, 3, H, W), RGB in 0..1, already resized; its output is `logits`. It is compared with featx's own
    predictions before it is written.

    \b
    Examples:
      featx export 20261121 -o model.onnx
      featx export 20261121 -o model.pt2 --source photos/ --images 200
    """
    from featx.cache.memo import Memo
    from featx.core.run_folder import Runs
    from featx.runs.export_formats import format_of

    format_of(output)
    check_target(output, source or "", "model.onnx")
    found = Runs(home).open(run)
    with importing():
        from featx.runs.export import export as write
    with out.progress() as progress:
        made = write(
            found,
            output,
            Memo(home),
            weights=weights,
            images=images,
            source=source,
            tolerance=tolerance,
            progress=progress,
        )
    for line in made.notes:
        out.note(line)
    said = counted(made.parity.images, "image", "images")
    out.say(f"compared with featx on {said}: the same classes, logits within {made.parity.largest_difference:.1e}")
    channels, height, width = made.shape
    out.say(f"input image (n, {channels}, {height}, {width}), values 0 to 1; output logits")
    out.say(f"wrote {output}, {human_bytes(made.bytes)}")
    out.result(
        {
            "run": found.id,
            "path": str(output),
            "format": made.format,
            "bytes": made.bytes,
            "shape": list(made.shape),
            "images": made.parity.images,
            "largest_difference": made.parity.largest_difference,
            "notes": list(made.notes),
        }
    )
