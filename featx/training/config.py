"""The options of a training, as frozen values. Each default is written here, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from featx.core.specs import ON_ERROR, PRECISIONS, ExtractConfig, OnError, Precision
from featx.core.validation import check_choice, check_count, check_path, check_positive, check_range, check_text
from featx.errors import OptionError, choices
from featx.models.head_spec import HeadSpec
from featx.probes.config import CALIBRATE, Calibrate

Mode = Literal["scratch", "frozen", "finetune"]
OptimizerName = Literal["sgd", "adam", "adamw"]
ScheduleName = Literal["constant", "step", "cosine", "onecycle", "plateau"]
AugmentName = Literal["none", "flip", "crop", "crop-flip", "trivial", "randaugment"]
ClassWeight = Literal["balanced"]

MODES: tuple[Mode, ...] = choices(Mode)
OPTIMIZERS: tuple[OptimizerName, ...] = choices(OptimizerName)
SCHEDULES: tuple[ScheduleName, ...] = choices(ScheduleName)
AUGMENTS: tuple[AugmentName, ...] = choices(AugmentName)
MIRRORING: tuple[AugmentName, ...] = ("flip", "crop-flip", "trivial", "randaugment")
NOT_MIRRORED: dict[AugmentName, AugmentName] = {"flip": "none", "crop-flip": "crop"}
"""What is left of an augmentation for images that have a direction."""
CLASS_WEIGHTS: tuple[ClassWeight, ...] = choices(ClassWeight)


@dataclass(frozen=True)
class TrainConfig:
    """Options of end-to-end training; ``checkpoint_minutes`` does not affect the results.

    Parameters
    ----------
    mode : str
        ``scratch`` (random weights), ``frozen`` (only the head trains) or ``finetune``.
    unfreeze_from : str, optional
        With ``finetune``: the first block that trains; those before it are frozen.
    head : str
        See `HeadSpec`.
    init_head : str, optional
        Id or folder of the run whose softmax regression or trained head initialises the head: the two phases of Kumar
        et al., "Fine-tuning can distort pretrained features and underperform out-of-distribution", 2022.
    epochs : int
        Passes over the training images.
    batch_size : int
        Images per batch.
    accumulate : int
        Batches whose gradients are accumulated per step.
    optimizer : str
        ``sgd`` (with Nesterov momentum), ``adam`` or ``adamw``.
    lr : float, optional
        Peak learning rate; None takes the default of the optimizer and mode, `LR`.
    head_lr_factor : float
        The head's learning rate as a multiple of `lr`.
    momentum : float
        Momentum of SGD; beta 1 of Adam and AdamW.
    weight_decay : float, optional
        Weight decay, except for biases and norms; None takes the optimizer's default.
    schedule : str
        Learning rate schedule: see `featx.training.optim.Schedule`.
    warmup_epochs : int
        Epochs over which the learning rate rises linearly.
    clip : float, optional
        Maximum norm of a step's gradient; None does not clip.
    label_smoothing : float
        Share of the target spread over all classes.
    class_weight : str, optional
        ``balanced``: n / (k * count), as scikit-learn's; None weighs every row alike.
    augment : str, optional
        ``none``, ``flip``, ``crop``, ``crop-flip``, and after crop and flip ``trivial`` or ``randaugment``; None takes
        the mode's default, `AUGMENT`, without the flip for sources that have a direction (`featx.training.direction`).
    mixup : float
        Parameter of the Beta distribution for blending images; 0 disables it.
    cutmix : float
        The same for pasting parts of images into others; with both, each batch has one of the two.
    patience : int, optional
        Stop after this many epochs without improvement; None never stops early.
    sync_batch_norm : bool
        Of several processes, whether batch norm sees the whole batch, as in one process, or each its own slice.
    precision : str
        Precision of the arithmetic: ``fp32``, ``bf16`` or ``fp16``.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    seed : int
        Seed of every random choice.
    on_error : str
        ``raise``, or ``skip`` to leave out images that cannot be decoded.
    checkpoint_minutes : float
        Time between checkpoints within an epoch; one is also written after each epoch.
    calibrate : str, optional
        ``temperature`` or ``vector``: calibrates the logits on the validation rows (`featx.probes.calibration`).

    Raises
    ------
    OptionError
        For other values, and for incompatible options.
    """

    mode: Mode = "finetune"
    unfreeze_from: str | None = None
    head: str = "linear"
    init_head: str | None = None
    epochs: int = 10
    batch_size: int = 64
    accumulate: int = 1
    optimizer: OptimizerName = "sgd"
    lr: float | None = None
    head_lr_factor: float = 1.0
    momentum: float = 0.9
    weight_decay: float | None = None
    schedule: ScheduleName = "cosine"
    warmup_epochs: int = 0
    clip: float | None = None
    label_smoothing: float = 0.0
    class_weight: ClassWeight | None = None
    augment: AugmentName | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    patience: int | None = None
    sync_batch_norm: bool = True
    precision: Precision = ExtractConfig.precision
    device: str = ExtractConfig.device
    seed: int = 0
    on_error: OnError = ExtractConfig.on_error
    checkpoint_minutes: float = 5.0
    calibrate: Calibrate | None = None

    _ADAPTIVE: ClassVar = {"scratch": 1e-3, "frozen": 1e-3, "finetune": 1e-4}
    LR: ClassVar = {
        "sgd": {"scratch": 0.05, "frozen": 0.1, "finetune": 0.01},
        "adam": _ADAPTIVE,
        "adamw": _ADAPTIVE,
    }
    WEIGHT_DECAY: ClassVar = {"sgd": 5e-4, "adam": 0.0, "adamw": 0.01}
    AUGMENT: ClassVar[dict[Mode, AugmentName]] = {"scratch": "crop-flip", "frozen": "none", "finetune": "crop-flip"}

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_numbers()
        object.__setattr__(self, "head", str(HeadSpec.parse(self.head)))
        if self.unfreeze_from is not None:
            check_text("unfreeze-from", self.unfreeze_from, "the name of a block")
        if self.init_head is not None:
            check_path("init-head", self.init_head, "a run's id or folder")
        if self.unfreeze_from is not None and self.mode != "finetune":
            raise OptionError(
                f"unfreeze-from needs mode finetune, and the mode is {self.mode}",
                "leave --unfreeze-from out",
            )
        if self.init_head is not None and self.mode == "scratch":
            raise OptionError(
                "init-head is for a head on pretrained features, and the mode is scratch",
                "leave it out",
            )
        if self.warmup_epochs >= self.epochs or (self.warmup_epochs and self.schedule == "onecycle"):
            raise OptionError(
                f"warmup-epochs is {self.warmup_epochs} with {self.epochs} epochs and schedule "
                f"{self.schedule}, "
                "expected fewer than the epochs, and none with onecycle, which warms up by itself",
                "give another --warmup-epochs",
            )

    def _check_choices(self) -> None:
        check_choice("mode", self.mode, MODES)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("on-error", self.on_error, ON_ERROR)
        if self.augment is not None:
            check_choice("augment", self.augment, AUGMENTS)
        if self.calibrate is not None:
            check_choice("calibrate", self.calibrate, CALIBRATE)
        if self.class_weight is not None:
            check_choice("class-weight", self.class_weight, CLASS_WEIGHTS)

    def _check_numbers(self) -> None:
        for name in ("epochs", "batch_size", "accumulate"):
            check_count(name.replace("_", "-"), getattr(self, name))
        for name in ("seed", "warmup_epochs"):
            check_count(name.replace("_", "-"), getattr(self, name), least=0)
        check_range("momentum", self.momentum, below=1)
        check_range("label-smoothing", self.label_smoothing, below=1)
        for name in ("mixup", "cutmix", "checkpoint_minutes"):
            check_range(name.replace("_", "-"), getattr(self, name))
        check_positive("head-lr-factor", self.head_lr_factor)
        if self.lr is not None:
            check_positive("lr", self.lr)
        if self.clip is not None:
            check_positive("clip", self.clip)
        if self.weight_decay is not None:
            check_range("weight-decay", self.weight_decay)
        if self.patience is not None:
            check_count("patience", self.patience)
        if not isinstance(self.sync_batch_norm, bool):
            raise OptionError(f"sync-batch-norm is {self.sync_batch_norm!r:.40}, expected True or False")

    @property
    def peak_lr(self) -> float:
        """The learning rate asked for, or the optimizer's and mode's own."""
        return float(self.LR[self.optimizer][self.mode] if self.lr is None else self.lr)

    @property
    def decay(self) -> float:
        """The weight decay asked for, or the optimizer's own."""
        return float(self.WEIGHT_DECAY[self.optimizer] if self.weight_decay is None else self.weight_decay)

    @property
    def choosers(self) -> tuple[str, ...]:
        """What of this needs validation rows, as the command line calls it; which epoch is kept can do without."""
        every = {"--patience": self.patience, f"--calibrate {self.calibrate}": self.calibrate}
        return tuple(said for said, value in every.items() if value is not None)

    @property
    def augmentation(self) -> AugmentName:
        """The augmentation asked for, or the mode's own."""
        return self.AUGMENT[self.mode] if self.augment is None else self.augment

    @property
    def blends(self) -> bool:
        """Whether images of a batch are blended with each other."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def sees_the_same(self) -> bool:
        """Whether every epoch shows the network the same inputs, so that a frozen base need run only once."""
        return self.mode == "frozen" and self.augmentation == "none" and not self.blends
