"""End-to-end training: from scratch, with a frozen base, or fine-tuned; one loop for all three."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from featx.augment import Augment
from featx.backbones import Backbone
from featx.cache.store import FeatureStore
from featx.errors import FeatureError, OptionError, SourceError
from featx.feeds import Feeds, Rows, chunks, feature_feeds, image_feeds
from featx.forward import arithmetic, memory_errors, pick_device
from featx.graph import Traced
from featx.heads import attach, count_parameters, make_head
from featx.loading import image_shape
from featx.metrics import Scores, score
from featx.networks import AUXILIARY, channels_last
from featx.specs import Progress, TrainConfig, Views, no_progress
from featx.splits import Partition

Epoch = dict[str, float]


@dataclass
class TrainResult:
    """A trained network and how it came about.

    Parameters
    ----------
    module : nn.Module
        The whole network with its new head, as it was after the best epoch; eval mode, on the CPU.
    history : list of dict
        An entry an epoch: epoch, lr, train_loss, train_accuracy, val_loss, val_accuracy, seconds, images_per_second.
    best_epoch : int
        From 1; chosen by validation accuracy, the last where there is no validation part.
    scores : dict of str to Scores
        ``train``, ``val`` and ``test`` of the best epoch; test is scored once, at the end.
    parameters : dict
        ``total``, ``trainable``, ``frozen``.
    seconds : dict
        By stage: ``read``, ``extract`` (frozen, on cached features), ``train``, ``validate``, ``test``, ``total``.
    images_per_second : float
        Training images a second, over all epochs, validation apart.
    cached : bool
        Whether a frozen base ran once instead of once an epoch.
    device : str
        Where it ran.
    """

    module: nn.Module
    history: list[Epoch]
    best_epoch: int
    scores: dict[str, Scores]
    parameters: dict[str, int]
    seconds: dict[str, float]
    images_per_second: float
    cached: bool
    device: str


def train(
    partition: Partition,
    backbone: Backbone,
    config: TrainConfig,
    *,
    store: FeatureStore | None = None,
    progress: Progress = no_progress,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> TrainResult:
    """Train a network on ``partition.train``, choose the epoch on ``val``, score ``test`` once.

    Parameters
    ----------
    partition : Partition
        Disjoint rows; `test` may be empty.
    backbone : Backbone
        With random weights for ``scratch``.
    config : TrainConfig
        Mode and how long, how fast, how augmented.
    store : FeatureStore, optional
        Where the features of a frozen base are kept; without it they are computed in memory.
    progress : callable
        Told of the images done.
    on_epoch : callable
        Given each epoch's line of the history.

    Raises
    ------
    FeatureError
        The loss became NaN or infinite.
    OptionError
        For a backbone without classifier, a device that is not there, or batches of one image that the network's
        batch norm cannot normalise.
    SourceError
        Fewer than two classes have training rows.
    """
    clock = _Clock()
    device = pick_device(config.device)
    if not backbone.head:
        raise OptionError(f"backbone {backbone.name} has no classifier to train", "use `featx fit --pixels`")
    if len(np.unique(partition.train.labels)) < 2:
        raise SourceError("the training rows hold one class, expected two or more", "give images of another class")
    if backbone.preprocess.views != Views():
        said = str(backbone.preprocess.views)
        raise OptionError(f"training sees one view of an image, and {said} were asked for", "average views in a fit")
    network, head = _build(backbone, config, len(partition.classes))
    # Found now, with what is wrong in words, and not in the middle of the first batch.
    Traced(network).describe(image_shape(partition.train.source, backbone.preprocess))
    parameters = count_parameters(network)
    # SqueezeNet pools after its classifier: there the head alone does not give the logits.
    cached = config.mode == "frozen" and augment_of(config) == "none" and isinstance(head, nn.Linear)
    with clock("extract" if cached else "read"):
        if cached:
            inputs = feature_feeds(partition, backbone, store, config, device, progress)
        else:
            inputs = image_feeds(partition, backbone, config, device)
    learner: Any = head if cached else channels_last(network)
    loop = _Loop(learner.to(device), head, inputs, partition, config, device, clock, progress)
    history, best_epoch = loop.run(on_epoch or (lambda line: None))
    scores = loop.final_scores()
    trained = len(partition.train) * config.epochs / max(clock.seconds["train"], 1e-9)
    return TrainResult(
        network.eval().cpu(), history, best_epoch, scores, parameters, clock.total(), trained, cached, str(device)
    )


def lr_of(config: TrainConfig) -> float:
    """Return the peak learning rate: the one asked for, or the mode's own."""
    return config.LR[config.mode] if config.lr is None else config.lr


def augment_of(config: TrainConfig) -> str:
    """Return the augmentation: the one asked for, or the mode's own."""
    return config.AUGMENT[config.mode] if config.augment is None else config.augment


class _Clock:
    """One clock a run, its seconds split by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began

    def total(self) -> dict[str, float]:
        return {**self.seconds, "total": time.perf_counter() - self._began}


def _build(backbone: Backbone, config: TrainConfig, n_classes: int) -> tuple[nn.Module, nn.Module]:
    """Return the network and the new head in it; exactly what trains has gradients."""
    network: Any = backbone.module()
    # Auxiliary heads (GoogLeNet, Inception) would stay as they are, of other classes, and be counted as if they learnt.
    for name in {name for name, _ in network.named_children()} & set(AUXILIARY):
        setattr(network, name, None)
        network.aux_logits = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        convolution = backbone.code is None and backbone.name.startswith("squeezenet")
        head = make_head(config.head, backbone.head_width, n_classes, convolution=convolution)
    network.requires_grad_(config.mode != "frozen")
    attach(network, backbone.head, head.requires_grad_(True))
    return network, head


class _Loop:
    """SGD with momentum under a cosine schedule; the best epoch's weights are kept.

    Parameters
    ----------
    learner : nn.Module
        Maps a batch of inputs to logits: the network, or its head where features are cached.
    head : nn.Module
        The part of it that trains in ``frozen`` mode.
    """

    def __init__(
        self,
        learner: nn.Module,
        head: nn.Module,
        inputs: Feeds,
        partition: Partition,
        config: TrainConfig,
        device: torch.device,
        clock: _Clock,
        progress: Progress,
    ) -> None:
        self.learner, self.head, self.inputs, self.config = learner, head, inputs, config
        self.device, self.clock, self.progress = device, clock, progress
        self.y = {n: torch.from_numpy(p.labels).to(device) for n, p in partition.parts().items()}
        self.n_classes = len(partition.classes)
        learns = [p for p in learner.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(
            learns,
            lr_of(config),
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.momentum > 0,
        )
        steps = len(self._epoch_batches(1)) * config.epochs
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, max(1, steps))

    def run(self, on_epoch: Callable[[Epoch], None]) -> tuple[list[Epoch], int]:
        """Train; return the history and the best epoch, whose weights the learner then has."""
        history: list[Epoch] = []
        best: tuple[float, float] | None = None
        best_epoch, kept = self.config.epochs, None
        for epoch in range(1, self.config.epochs + 1):
            line = self._train_epoch(epoch)
            if "val" in self.inputs:
                with self.clock("validate"):
                    val = self._score("val")
                line |= {"val_loss": val.loss, "val_accuracy": val.accuracy}
                if best is None or (val.accuracy, -val.loss) > best:
                    best, best_epoch = (val.accuracy, -val.loss), epoch
                    kept = copy.deepcopy(self.learner.state_dict())
            history.append(line)
            on_epoch(line)
        if kept is not None:
            self.learner.load_state_dict(kept)
        return history, best_epoch

    def final_scores(self) -> dict[str, Scores]:
        """Score each part with the kept weights."""
        with self.clock("test"):
            return {part: self._score(part) for part in self.inputs}

    def _train_epoch(self, epoch: int) -> Epoch:
        self._train_mode()
        augment = Augment(augment_of(self.config), len(self.y["train"]), self.config.seed, epoch)
        batches = self._epoch_batches(epoch)
        total = sum(map(len, batches))
        loss_sum, right, done = 0.0, 0, 0
        lr = self.optimizer.param_groups[0]["lr"]
        began = time.perf_counter()
        with self.clock("train"), memory_errors("training"), _lone_image_errors():
            for rows, x in self.inputs["train"].batches(batches, augment):
                y = self.y["train"][torch.from_numpy(rows).to(self.device)]
                with arithmetic(self.device, self.config.precision):
                    logits = self.learner(x)  # (m, n_classes)
                    loss = functional.cross_entropy(logits.float(), y)
                if not torch.isfinite(loss):
                    raise FeatureError(
                        f"the loss is {loss.item()} in epoch {epoch} after {done} images", "use a smaller --lr"
                    )
                self.optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                self.optimizer.step()
                self.schedule.step()
                loss_sum += float(loss.detach()) * len(rows)
                right += int((logits.argmax(1) == y).sum())
                done += len(rows)
                self.progress(f"epoch {epoch}/{self.config.epochs}", done, total)
        seconds = time.perf_counter() - began
        return {
            "epoch": epoch,
            "lr": lr,
            "train_loss": loss_sum / done,
            "train_accuracy": right / done,
            "seconds": seconds,
            "images_per_second": done / max(seconds, 1e-9),
        }

    def _train_mode(self) -> None:
        # A frozen base stays in eval mode: its batch-norm statistics must not drift, nor dropout blur it.
        if self.config.mode == "frozen":
            self.learner.eval()
            self.head.train()
        else:
            self.learner.train()

    def _epoch_batches(self, epoch: int) -> list[Rows]:
        n_rows = len(self.y["train"])
        order = np.random.default_rng([self.config.seed, epoch, 0]).permutation(n_rows)
        batches = chunks(order, self.config.batch_size)
        # Batch norm cannot normalise a batch of one; those images come in the next epoch's order.
        return batches[:-1] if len(batches[-1]) == 1 < len(batches[0]) else batches

    def _score(self, part: str) -> Scores:
        self.learner.eval()
        y = self.y[part]
        logits = []
        with torch.inference_mode(), memory_errors("evaluation"), arithmetic(self.device, self.config.precision):
            for _, x in self.inputs[part].batches(chunks(np.arange(len(y)), self.config.batch_size), None):
                logits.append(self.learner(x).float().cpu().numpy())
        return score(np.concatenate(logits), y.cpu().numpy(), self.n_classes)


@contextlib.contextmanager
def _lone_image_errors() -> Iterator[None]:
    """Say in words that batch norm met a batch of one image, one value a channel."""
    try:
        yield
    except ValueError as exc:
        if "more than 1 value per channel" not in str(exc):
            raise
        raise OptionError("batch norm cannot normalise a batch of one image", "use a larger --batch-size") from exc
