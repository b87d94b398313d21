"""The options of ``featx train``, in the order in which its help shows them, under its headings."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from featx.cli import options, processes
from featx.cli.headings import COMPUTATION, IMAGES, NETWORK, SEEDS, Headed, under
from featx.core.specs import BackboneConfig
from featx.errors import OptionError
from featx.probes.config import CALIBRATE
from featx.training.config import AUGMENTS, CLASS_WEIGHTS, MODES, OPTIMIZERS, SCHEDULES, TrainConfig

_number = functools.partial(options.number, TrainConfig)


def _choice(flag: str, choices: tuple[str, ...], text: str) -> Callable[[Any], Any]:
    default = getattr(TrainConfig, flag.strip("-").replace("-", "_"))
    if default is None:
        return click.option(flag, type=click.Choice(choices), help=text)
    return options.choice(flag, choices, default, text)


def _rates(optimizer: str) -> str:
    return ", ".join(f"{TrainConfig.LR[optimizer][mode]:g}" for mode in MODES)


HOW_LONG = "Training length"

what_trains = under(
    "What is trained",
    click.option("--mode", type=click.Choice(MODES), required=True, help=(
        "Train everything from scratch, only the head, or fine-tune a pretrained network."
    )),
    click.option("--unfreeze-from", metavar="BLOCK", help="With finetune: train only this block and those after it."),
    click.option("--head", metavar="HEAD", default=TrainConfig.head, show_default=True, help=(
        "The new classifier: linear, mlp:256,128, on the network's features; flat-linear, "
        "flat-mlp:256,128:dropout=0.5, directly on its convolutional base."
    )),
    click.option("--init-head", metavar="RUN", help="Start from the head of a fit or of a frozen run."),
)  # fmt: skip
how_long = under(
    HOW_LONG,
    _number("--epochs", int, "Passes over the training images."),
    _number("--patience", int, "Stop after N epochs without improvement."),
    options.batch_size(TrainConfig.batch_size),
    _number("--accumulate", int, "Batches per step."),
)
optimizer = under(
    "Optimizer",
    _choice("--optimizer", OPTIMIZERS, "SGD has Nesterov momentum."),
    _number("--lr", float, f"Peak learning rate.  [default: by mode {_rates('sgd')}; with Adam {_rates('adam')}]"),
    _number("--head-lr-factor", float, "Factor for the head's learning rate."),
    _choice("--schedule", SCHEDULES, "Learning rate schedule."),
    _number("--warmup-epochs", int, "Epochs over which the learning rate rises."),
    _number("--momentum", float, "Momentum of SGD; beta 1 of Adam."),
    _number("--weight-decay", float, "Weight decay, except for norms and biases.  [default: the optimizer's own]"),
    _number("--clip", float, "Clip the gradient to this norm."),
)
loss_and_images = under(
    "Loss and augmentation",
    _number("--label-smoothing", float, "Label smoothing: share of the target spread over all classes."),
    _choice("--class-weight", CLASS_WEIGHTS, "Weigh rare classes more.  [default: all rows alike]"),
    _choice(
        "--augment",
        AUGMENTS,
        "Random image augmentation.  [default: crop-flip, or crop for digits and the like; none for frozen]",
    ),
    _choice(
        "--calibrate",
        CALIBRATE,
        "Calibrate on the validation rows: one temperature, or a scale and an offset per class.",
    ),
    _number("--mixup", float, "Blend images: Beta(X, X).", "X"),
    _number("--cutmix", float, "Paste parts of images: Beta(X, X)."),
)
machine = under(
    COMPUTATION,
    options.precision,
    options.device,
    options.on_error,
    click.option(
        "--sync-batch-norm/--no-sync-batch-norm",
        default=TrainConfig.sync_batch_norm,
        show_default=True,
        help="With several processes: batch norm over the whole batch, or over each process's slice of it.",
    ),
    _number("--checkpoint-minutes", float, "Time between checkpoints within an epoch."),
)

config = options.gather(
    "config", TrainConfig, (what_trains, how_long, optimizer, loss_and_images, under(SEEDS, options.seed), machine)
)
"""How to train: the command gets `config`, a `TrainConfig`."""

network = options.gather(
    "network",
    BackboneConfig,
    (under(NETWORK, options.weights(), options.stem), options.resizing, under(IMAGES, options.mean, options.std)),
    ("weights", "stem", "size", "resize", "interpolation", "bits", "mean", "std"),
)
"""What is trained: the command gets `network`, a `BackboneConfig` of the plain view."""

RESUMES = ("go-on", "strict")
"""What ``--resume`` alone means, and ``--resume=strict``; see `featx.training.resume`."""


class TrainCommand(Headed):
    """A command that several processes may run together.

    Its ``--resume`` may have a value behind an equals sign, and takes no word that follows.
    """

    def make_context(self, *args: Any, **how: Any) -> click.Context:
        """Read the options; of several processes, process 0 alone says what is wrong with them."""
        with processes.one_speaks():
            return super().make_context(*args, **how)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, together with the other processes where there are several."""
        with processes.together(ctx):
            return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, a bare ``--resume`` spelled out."""
        end = args.index("--") if "--" in args else len(args)
        spelled = [f"--resume={RESUMES[0]}" if arg == "--resume" else arg for arg in args[:end]]
        return super().parse_args(ctx, spelled + args[end:])


resume = click.option(
    "--resume", type=click.Choice(RESUMES), metavar="[=strict]",
    help="Resume this command's newest unfinished run; without one, start over, or fail with =strict.",
)  # fmt: skip
against = click.option("--against", metavar="RUN", help="Compare with another run on the same test images.")
bench = click.option("--bench", is_flag=True, help="Also time the trained network's forward pass, in ms per image.")
tensorboard = click.option("--tensorboard", is_flag=True, help="Also write the history for TensorBoard.")


def check_kept(mode: str, keep_weights: bool) -> None:
    """Raise OptionError where a run keeps all of its weights anyway."""
    if keep_weights and mode != "frozen":
        raise OptionError(f"--keep-weights is for a frozen base, mode {mode} keeps all weights anyway", "leave it out")
