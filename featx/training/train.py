"""End-to-end training: from scratch, with a frozen base, or fine-tuned; one loop for all three."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from featx.cache.store import FeatureStore
from featx.core.guessing import worse_than_guessing
from featx.core.metrics import Scores
from featx.core.run_folder import Runs
from featx.core.specs import Progress, no_progress
from featx.data.splits import Part, Partition
from featx.errors import SourceError
from featx.graph.placing import placed
from featx.models.backbones import Backbone
from featx.models.heads import count_parameters
from featx.probes.calibration import NO_ROWS, NO_ROWS_HINT, Calibration, calibrate
from featx.training.checkpoints import Checkpoints
from featx.training.config import TrainConfig
from featx.training.direction import Augmentation
from featx.training.loop import Epoch, Loop
from featx.training.small_convolutions import unrolled
from featx.training.task import Task, prepare
from featx.training.world import World, joined


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
        ``total``, ``trainable``, ``frozen``; auxiliary heads that train are counted.
    seconds : dict
        By stage: ``build``, ``read`` or ``extract`` (frozen, on cached features), ``train``, ``validate``, ``test``,
        ``total``.
    images_per_second : float
        Training images a second, over all epochs, validation apart.
    cached : bool
        Whether a frozen base ran once instead of once an epoch.
    device : str
        Where it ran.
    scored : dict of str to Part
        The rows that were scored: those of the partition, without skipped images.
    augmentation : Augmentation
        How images were changed: as asked, or as suits the mode and the source.
    notes : list of str
        What the user should know: why images were not mirrored, losses above those of guessing.
    skipped : list of dict
        ``id`` and ``reason`` of images left out.
    resumed_from : float
        Epochs that were done when this process began.
    processes : int
        How many shared each batch.
    calibration : Calibration, optional
        What was fitted on the validation rows; the other parts are scored as the calibrated network predicts them.
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
    scored: dict[str, Part]
    augmentation: Augmentation
    notes: list[str]
    skipped: list[dict[str, str]] = field(default_factory=list)
    resumed_from: int = 0
    processes: int = 1
    calibration: Calibration | None = None

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """The class of each test row; empty where there are none."""
        return self.scores["test"].predicted if "test" in self.scores else np.empty(0, np.int64)

    @property
    def warnings(self) -> list[str]:
        """Those of the notes that say that something is wrong."""
        return self.notes if self.augmentation.misleads else [n for n in self.notes if n != self.augmentation.why]


def train(
    partition: Partition,
    backbone: Backbone,
    config: TrainConfig,
    *,
    store: FeatureStore | None = None,
    progress: Progress = no_progress,
    on_epoch: Callable[[Epoch], None] | None = None,
    checkpoints: Checkpoints | None = None,
    runs: Runs | None = None,
) -> TrainResult:
    """Train a network on ``partition.train``, choose the epoch on ``val``, score ``test`` once.

    Called by every process of torch's initialised process group, they share each batch, as one process would compute
    it. All return the same result; process 0 alone writes, and calls `progress` and `on_epoch`.

    A head on a frozen base learns on standardised features (`Standardized`), which are folded into it at the end: it
    takes features as they are.

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
    checkpoints : Checkpoints, optional
        Where the state is saved, and gone on from where there is one.
    runs : Runs, optional
        Where ``init_head`` is looked for; else in `store`'s home, else in featx's own.

    Raises
    ------
    FeatureError
        The loss became NaN or infinite; nothing was updated by it.
    OptionError
        For a backbone without classifier, a device that is not there, a size too small, batches of one image that
        the network's batch norm cannot normalise, or batches smaller than two images a process.
    SourceError
        Fewer than two classes have training rows, a label is outside of the classes, or there are no validation rows to
        calibrate on.
    WorkerError
        Another process of the training ended.
    KeyboardInterrupt
        After the step was finished and the state saved.
    """
    runs = runs or Runs(store.home if store else None)
    if config.calibrate is not None and not len(partition.val):
        raise SourceError(NO_ROWS, NO_ROWS_HINT)
    with joined() as world:
        if not world.first:
            progress, on_epoch = no_progress, None
        task = prepare(
            partition,
            backbone,
            config,
            store=store,
            progress=progress,
            checkpoints=checkpoints,
            runs=runs,
            world=world,
        )
        return _trained(task, on_epoch or (lambda line: None), world)


def _trained(task: Task, on_epoch: Callable[[Epoch], None], world: World) -> TrainResult:
    parameters = count_parameters(task.model.network)
    loop = Loop(task)
    loop.resume()
    resumed_from = loop.state.epoch
    with unrolled(task.learner.module):
        history, best_epoch = loop.run(on_epoch)
        task.learner.fold()  # what is scored is what is kept
        with task.clock("test"):
            scores, calibration = _scored(loop)
    return TrainResult(
        module=placed(task.model.strip(), torch.device("cpu")),
        history=history,
        best_epoch=best_epoch,
        scores=scores,
        parameters=parameters,
        seconds=task.clock.total(),
        images_per_second=loop.rows * len(history) / max(task.clock.seconds.get("train", 0.0), 1e-9),
        cached=task.cached,
        device=str(task.device),
        scored={name: loader.part for name, loader in task.loaders.items()},
        skipped=task.skipped,
        resumed_from=resumed_from,
        processes=world.size,
        augmentation=task.augmentation,
        notes=[*_notes(task, scores), *(calibration.notes if calibration else ())],
        calibration=calibration,
    )


def _scored(loop: Loop) -> tuple[dict[str, Scores], Calibration | None]:
    """Score all parts by the network as it is kept; calibrated, if that is asked for."""
    task, method = loop.task, loop.config.calibrate
    if method is None:
        return {part: loop.score(part) for part in task.loaders}, None
    parts = {part: (loop.logits(part).astype(np.float64), loader.part.labels) for part, loader in task.loaders.items()}
    if "val" not in parts:  # none of their images could be decoded
        raise SourceError(NO_ROWS, NO_ROWS_HINT)
    calibration, scores = calibrate(method, parts.pop("val"), parts, task.n_classes)
    return {part: scores[part] for part in task.loaders}, calibration


def _notes(task: Task, scores: dict[str, Scores]) -> list[str]:
    balanced = task.config.class_weight is not None
    worse = worse_than_guessing(scores, balanced=balanced, lr=task.config.peak_lr)
    return [said for said in (task.augmentation.why, worse) if said]
