"""``featx``: the program and its commands."""

from __future__ import annotations

import logging
import sys
import warnings

import click

from featx.cli.failures import CLOSED_PIPE
from featx.cli.groups import LazyGroup
from featx.cli.streams import settle_notes, settle_streams

COMMANDS = {
    "demo": ("featx.cli.demo", "demo", "Run the whole comparison offline, on built-in data."),
    "layers": ("featx.cli.layers", "layers", "List what can be extracted from a backbone."),
    "show": ("featx.cli.show", "show", "Draw a sheet of images as a network sees them."),
    "extract": ("featx.cli.extract", "extract", "Compute a backbone's features and store them."),
    "audit": ("featx.cli.audit", "audit", "Look for leaks, doubtful labels, odd images and small classes."),
    "fit": ("featx.cli.fit", "fit", "Fit softmax regression on stored features or raw pixels."),
    "train": ("featx.cli.train", "train", "Train a network end to end."),
    "compare": (
        "featx.cli.compare",
        "compare",
        "Compare pixels, frozen features, fine-tuning and training from scratch.",
    ),
    "run": ("featx.cli.run", "run", "Run a recipe: a table of fits and trainings."),
    "predict": ("featx.cli.predict", "predict", "Predict the classes of images with a run's model."),
    "report": ("featx.cli.report", "report", "Show runs side by side."),
    "similarity": ("featx.cli.similarity", "similarity", "Compare layers' representations of the same images."),
    "rerun": ("featx.cli.rerun", "rerun", "Repeat a run from its record and say whether it came out equal."),
    "export": ("featx.cli.export", "export", "Write a run's whole model as ONNX, torch.export or safetensors."),
    "cache": ("featx.cli.cache", "cache", "Inspect and clean up the feature store."),
    "bench": ("featx.cli.bench", "bench", "Time a network's forward pass."),
    "doctor": ("featx.cli.doctor", "doctor", "Check that this machine has what featx needs."),
    "runs": ("featx.cli.runs", "runs", "List, inspect and clean up runs."),
}
"""Name -> module, attribute, help in one line: the command's own first line."""


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "-V", "--version", package_name="featx", message="featx %(version)s")
def cli() -> None:
    """Freeze once, probe many times: frozen features, softmax regression and end-to-end training.

    \b
    Examples:
      featx demo
      featx extract digits -b resnet18 --weights random:0 -l layer3:avg
      featx fit digits -b resnet18 --weights random:0 -l layer3:avg
    """


def _quiet_pillow() -> None:
    # Of an image that is refused featx says why itself; what else Pillow remarks does not change the pixels.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", module=r"PIL\.")


def run() -> None:
    """Run the command line and exit with its code."""
    _quiet_pillow()
    settle_streams()
    try:
        cli.main(prog_name="featx")
    except SystemExit:
        if settle_notes():
            raise
        sys.exit(CLOSED_PIPE)
