"""What a user asks of `featx bench`, as frozen values. Every default of it stands here, once."""

from __future__ import annotations

from dataclasses import dataclass

from featx.core.specs import PRECISIONS, ExtractConfig, Precision
from featx.core.validation import check_choice, check_count, check_positive


@dataclass(frozen=True)
class BenchConfig:
    """What is timed.

    Parameters
    ----------
    batch_sizes : tuple of int
        Images in a forward pass.
    precisions : tuple of str
        ``fp32``, ``bf16``, ``fp16``.
    seconds : float
        So long each is timed, warm-up apart.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    batch_sizes: tuple[int, ...] = (1, 8, 64)
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    seconds: float = 2.0
    device: str = ExtractConfig.device

    def __post_init__(self) -> None:
        for size in self.batch_sizes:
            check_count("batch-sizes", size)
        for precision in self.precisions:
            check_choice("precisions", precision, PRECISIONS)
        check_positive("seconds", self.seconds)
