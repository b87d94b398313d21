"""``featx train``: a whole network from scratch, with a frozen base, or fine-tuned."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import options, processes, repeats, train_options
from featx.cli.calibrated import tell_calibration
from featx.cli.checked import tell_checks
from featx.cli.headings import NETWORK, OUTPUT, SEEDS, under
from featx.cli.importing import importing
from featx.cli.opening import check_backbone, open_backbone, open_partition, tell_of_rows
from featx.cli.output import Output
from featx.cli.text import class_line, human_bytes
from featx.core.backbone_names import RUN, is_run, scratch_weights
from featx.core.specs import BackboneConfig
from featx.data.split_options import SplitOptions
from featx.training.config import TrainConfig

if TYPE_CHECKING:
    from featx.data.splits import Partition
    from featx.models.backbones import Backbone
    from featx.training.world import World

SHOWN = (
    *("accuracy", "loss", "top5", "balanced_accuracy", "macro_f1", "brier", "ece", "rms_calibration_error"),
    *("calibrate", "calibration"),
    *("run", "path", "source", "classes", "backbone", "mode", "head", "seed", "parameters"),
    "val_size",
    *("parameter_bytes", "epochs", "best_epoch", "images_per_second", "cached", "rows", "skipped", "seconds"),
    *("seconds_per_epoch", "inference", "processor", "history", "missing_classes", "unlabelled", "conflicting"),
    *("shared_with_test", "excluded_rows", "augment", "notes"),
)
"""What ``--json`` shows of the record."""

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class TrainRequest:
    """What one training is of."""

    source: str
    backbone: str
    split_options: SplitOptions
    network: BackboneConfig
    config: TrainConfig

    def with_seed(self, seed: int) -> TrainRequest:
        """Return the same with another seed; a network from scratch has its weights drawn from it, if not from one."""
        network = self.network
        if self.config.mode == "scratch":
            network = replace(network, weights=scratch_weights(network.weights, seed))
        return replace(self, config=replace(self.config, seed=seed), network=network)


@click.command(cls=train_options.TrainCommand)
@click.argument("source")
@under(NETWORK, options.backbone())
@train_options.config
@options.split_options
@train_options.network
@under(SEEDS, repeats.repeat, repeats.seeds)
@under(train_options.HOW_LONG, train_options.resume)
@under(OUTPUT, options.keep_weights, train_options.against, train_options.tensorboard, train_options.bench)
@options.common
def train(
    out: Output,
    home: Path,
    source: str,
    backbone: str,
    config: TrainConfig,
    split_options: SplitOptions,
    network: BackboneConfig,
    repeat: int,
    seeds: tuple[int, ...] | None,
    resume: str | None,
    keep_weights: bool,
    against: str | None,
    tensorboard: bool,
    bench: bool,
) -> None:
    """Train a network end to end.

    A tenth of the training rows (--val-size) is held out and chooses the epoch whose weights are kept; with
    --val-size 0 the last one's are. The test split is scored once. A frozen base without augmentation runs once, and
    its features are kept in the store. Several processes share each batch: torchrun --nproc-per-node 2 -m featx
    train ...

    \b
    Examples:
      featx train digits -b lenet5 --mode scratch --epochs 30
      featx train photos/ -b resnet18 --mode finetune --size 96 --epochs 5
      featx train photos/ -b resnet18 --mode finetune --unfreeze-from layer4
    """
    from featx.core.run_folder import Runs

    world = processes.current()
    out.quiet |= not world.first
    other = None if against is None else Runs(home).open(against)
    request = TrainRequest(source, backbone, split_options, network, config)
    how = How(resume, keep_weights=keep_weights, tensorboard=tensorboard, bench=bench)
    split_options.check_choices(config.choosers)
    train_options.check_kept(config.mode, keep_weights)
    if world.size == 1 and not config.sync_batch_norm:
        out.note("note: --no-sync-batch-norm changes nothing in one process")
    records: list[dict[str, Any]] = []
    check_backbone(backbone, request.with_seed(config.seed).network, home)
    for seed in repeats.seeds_of(config.seed, repeat, seeds):
        records.append(_one(out, home, world, request.with_seed(seed), replace(how, continuing=bool(records))))
    if not world.first:
        return
    documents: list[dict[str, Any]] = [{name: record.get(name) for name in SHOWN} for record in records]
    document = documents[0] if len(records) == 1 else repeats.together(out, records, documents)
    if other is not None:
        from featx.reports.predictions import compare

        document["against"] = _against(out, records, [compare(Runs(home).open(r["run"]), other) for r in records])
        document["against"]["run"] = other.id
    document["checks"] = tell_checks(out, home, records)
    out.result(document)


@dataclass(frozen=True)
class How:
    """What is done beside a training; `continuing` after the first of several seeds."""

    resume: str | None
    keep_weights: bool
    tensorboard: bool
    bench: bool
    continuing: bool = False


def _one(out: Output, home: Path, world: World, request: TrainRequest, how: How) -> dict[str, Any]:
    """Run or resume one training and return its record; of several processes, only process 0's is not empty."""
    from featx.cache.memo import Memo
    from featx.cache.store import FeatureStore
    from featx.core.run_folder import Runs

    memo, config = Memo(home), request.config
    with world.in_turn():
        chosen = open_partition(out, request.source, request.split_options, config.seed, memo, config.on_error)
        network = open_backbone(out, request.backbone, request.network, chosen.train.source.channels, memo)
    with importing():  # not before there is something to train on
        from featx.runs.record import record_train
        from featx.training.resume import check_same, identity_of, training_run
        from featx.training.tensorboard import board
        from featx.training.timing import time_trained
        from featx.training.train import train as run_training

    _tell_of_head(out, request)
    _tell_of_mirrors(out, chosen, config)
    identity = identity_of(chosen, network, config)
    check_same(world, identity)
    if not world.first:
        _follow(out, home, world, chosen, network, config)
        return {}
    command = ["featx", *sys.argv[1:]]
    minutes = config.checkpoint_minutes
    with training_run(home, command, identity, minutes, resume=how.resume, continuing=how.continuing) as job:
        run = job.run
        world.share({"run": run.id, "finished": job.finished})
        for line in job.notes:
            out.note(line)
        if job.finished:
            out.note(f"run {run.id} of this command has already finished")
            record = run.read()
        else:
            if how.resume:
                out.note(f"resuming run {run.id}" if job.resumed else "nothing to resume: starting a new run")
            out.kept = _kept(run.id)
            with board(run.path / "tensorboard" if how.tensorboard else None) as write, out.progress() as progress:
                result = run_training(
                    chosen,
                    network,
                    config,
                    store=FeatureStore(home),
                    progress=progress,
                    on_epoch=write,
                    checkpoints=job.checkpoints,
                    runs=Runs(home),
                )
            inference = time_trained(result, network, config) if how.bench else None
            record = record_train(run, chosen, network, config, result, inference, keep_weights=how.keep_weights)
    tell(out, record)
    out.skipped(record["skipped"])
    return record


def _follow(out: Output, home: Path, world: World, chosen: Partition, network: Backbone, config: TrainConfig) -> None:
    """Train with process 0, which opens the run, asks, writes and tells."""
    from featx.cache.store import FeatureStore
    from featx.core.run_folder import Runs
    from featx.training.train import train as run_training

    found = world.share(None)
    if not found["finished"]:
        out.kept = _kept(found["run"])
        run_training(chosen, network, config, store=FeatureStore(home), runs=Runs(home))


def _kept(run: str) -> str:
    return f"run {run} is kept; the same command with --resume resumes it"


def _tell_of_head(out: Output, request: TrainRequest) -> None:
    """Say that a trained network begins with a new head, which other tools would have kept."""
    held = next((name for name in (request.backbone, request.network.weights) if is_run(name)), None)
    if held and request.config.init_head is None and request.config.mode != "scratch":
        out.note(f"starting with a new head; --init-head {held.removeprefix(RUN)} starts with the run's own")


def _tell_of_mirrors(out: Output, chosen: Partition, config: TrainConfig) -> None:
    """Say beforehand that the augmentation asked for mirrors what has a direction."""
    from featx.training.direction import augmentation_of

    augmentation = augmentation_of(config, chosen.train.source)
    if augmentation.misleads:
        out.note(f"warning: {augmentation.why}")


def tell(out: Output, record: dict[str, Any]) -> None:
    """Print a training's result for people."""
    out.say(class_line(record["classes"]))
    columns = (">epoch", ">lr", ">train loss", ">train acc", ">val loss", ">val acc", ">seconds")
    out.table(columns, [_epoch(line) for line in record["history"]])
    accuracy, loss = record["accuracy"], record["loss"]
    best = f"best epoch {record['best_epoch']} by validation; its weights are kept"
    out.say(best if "val" in accuracy else "no validation rows: the last epoch's weights are kept")
    parts = [part for part in PARTS if part in accuracy]
    out.say(", ".join(f"{part} accuracy {accuracy[part]:.4f} loss {loss[part]:.4f}" for part in parts))
    tell_calibration(out, record)
    count, size = record["parameters"], record["parameter_bytes"]
    said = [f"{count[name]:,} {name} ({human_bytes(size[name])})" for name in ("total", "trainable", "frozen")]
    out.say(f"parameters: {', '.join(said)}")
    cached = ", the frozen base ran once" if record["cached"] else ""
    out.say(f"augmentation: {record['augment']}")
    out.say(f"{record['seconds']['total']:.1f} s, {record['images_per_second']:.0f} images/s in training{cached}")
    timing = record.get("inference")
    if timing:
        ms, rate = timing["ms_per_image"], timing["images_per_second"]
        speed = "out of memory" if ms is None else f"{ms:.4f} ms per image, {rate:.0f} images/s"
        out.say(f"forward pass alone, batch of {timing['batch_size']}, {timing['precision']}: {speed}")
    tell_of_rows(out, record)
    for line in record.get("notes") or ():  # absent in records of earlier versions
        out.note(f"note: {line}")
    out.say(f"run {record['run']}")


def _epoch(line: dict[str, float]) -> tuple[str, ...]:
    val = (f"{line['val_loss']:.4f}", f"{line['val_accuracy']:.4f}") if "val_loss" in line else ("", "")
    shown = f"{line['epoch']:.0f}", f"{line['lr']:.4g}", f"{line['train_loss']:.4f}", f"{line['train_accuracy']:.4f}"
    return (*shown, *val, f"{line['seconds']:.1f}")


def _against(out: Output, records: list[dict[str, Any]], tests: list[dict[str, Any]]) -> dict[str, Any]:
    """Say how each run compares with another one, image by image."""
    for record, test in zip(records, tests, strict=True):
        out.say(
            f"run {record['run']}: {test['only_first']} test images correct that the other run gets wrong, "
            f"{test['only_second']} vice versa; McNemar's exact p {test['p_exact']:.3g}, mid-p {test['p_mid']:.3g}"
        )
    return {"tests": tests}
