"""``featx train``: a whole network from scratch, with a frozen base, or fine-tuned."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from featx.cli import options
from featx.cli.opening import open_backbone, open_partition
from featx.cli.output import Output
from featx.errors import OptionError
from featx.specs import AUGMENTS, MODES, ExtractConfig, TrainConfig

SHOWN = (
    *("run", "path", "source", "backbone", "mode", "head", "accuracy", "loss", "parameters", "epochs"),
    *("best_epoch", "images_per_second", "cached", "rows", "seconds"),
)
"""What ``--json`` shows of the record."""


TRAINING = options.gather(
    "config",
    TrainConfig,
    (
        click.option(
            "--mode", type=click.Choice(MODES), required=True, help="What trains: all anew, the head, or all on."
        ),
        click.option("--head", metavar="HEAD", default=TrainConfig.head, show_default=True, help="The new classifier."),
        click.option("--epochs", type=int, metavar="N", default=TrainConfig.epochs, show_default=True, help="Rounds."),
        options.batch_size(TrainConfig.batch_size),
        click.option("--lr", type=float, metavar="X", help="Peak learning rate.  [default: the mode's own]"),
        click.option(
            "--momentum", type=float, metavar="X", default=TrainConfig.momentum, show_default=True, help="Of SGD."
        ),
        click.option(
            "--weight-decay",
            type=float,
            metavar="X",
            default=TrainConfig.weight_decay,
            show_default=True,
            help="Of SGD.",
        ),
        click.option(
            "--augment", type=click.Choice(AUGMENTS), help="Random changes.  [default: crop-flip; none for frozen]"
        ),
        options.seed,
        options.precision,
        options.device,
    ),
)
"""How to train: the command gets `config`, a `TrainConfig`."""


@click.command
@click.argument("source")
@options.backbone()
@TRAINING
@options.parts
@options.weights()
@options.stem
@options.size
@options.resize
@options.interpolation
@options.mean
@options.std
@options.common
def train(
    out: Output,
    home: Path,
    source: str,
    backbone: str,
    config: TrainConfig,
    parts: options.Parts,
    weights: str,
    stem: str | None,
    size: int | None,
    resize: str | None,
    interpolation: str | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> None:
    """Train a network end to end.

    A tenth of the training rows is held out and chooses the epoch whose weights are kept; the test split is
    scored once. A frozen base without augmentation runs once, and its features stay in the store.

    \b
    Examples:
      featx train digits -b lenet5 --mode scratch --augment none
      featx train photos/ -b resnet18 --mode finetune --size 96 --epochs 5
    """
    if config.mode == "scratch":
        if weights != ExtractConfig.weights:
            raise OptionError(f"mode scratch draws new weights, and --weights {weights} was given", "leave it out")
        weights = f"random:{config.seed}"
    extraction = ExtractConfig(
        weights=weights,
        stem=stem,
        size=size,
        mean=mean,
        std=std,
        resize=resize,
        interpolation=interpolation,
        precision=config.precision,
        device=config.device,
    )
    from featx.cache.memo import Memo
    from featx.cache.store import FeatureStore
    from featx.records import new_run, record_train
    from featx.training import train as run_training

    memo = Memo(home)
    chosen = open_partition(out, source, parts, config.seed, memo)
    network = open_backbone(out, backbone, extraction, chosen.train.source.channels, memo)
    if config.mode == "frozen":
        out.kept = "finished shards of the frozen base's features stay in the store; no run was written"
    with new_run(home, "train", ["featx", *sys.argv[1:]]) as run:
        with out.progress() as progress:
            result = run_training(chosen, network, config, store=FeatureStore(home), progress=progress)
        record = record_train(run, chosen, network, extraction, config, result)
    tell(out, record)
    out.result({name: record[name] for name in SHOWN})


def tell(out: Output, record: dict[str, Any]) -> None:
    """Print a training's result for people."""
    columns = (">epoch", ">lr", ">train loss", ">train acc", ">val loss", ">val acc", ">seconds")
    out.table(columns, [_epoch(line) for line in record["history"]])
    accuracy, loss, count = record["accuracy"], record["loss"], record["parameters"]
    out.say(f"best epoch {record['best_epoch']} by validation; its weights are kept")
    out.say(", ".join(f"{part} accuracy {accuracy[part]:.4f} loss {loss[part]:.4f}" for part in accuracy))
    out.say(f"{count['total']:,} parameters: {count['trainable']:,} trainable, {count['frozen']:,} frozen")
    cached = ", the frozen base ran once" if record["cached"] else ""
    out.say(f"{record['seconds']['total']:.1f} s, {record['images_per_second']:.0f} images/s in training{cached}")
    out.say(f"run {record['run']}")


def _epoch(line: dict[str, float]) -> tuple[str, ...]:
    val = (f"{line['val_loss']:.4f}", f"{line['val_accuracy']:.4f}") if "val_loss" in line else ("", "")
    shown = f"{line['epoch']:.0f}", f"{line['lr']:.4f}", f"{line['train_loss']:.4f}", f"{line['train_accuracy']:.4f}"
    return (*shown, *val, f"{line['seconds']:.1f}")
