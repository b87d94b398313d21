"""Runs that hold their records in memory."""

from __future__ import annotations

from typing import Any

from featx.reports.rows import rows_of

FIT = {
    "kind": "fit",
    "created": "2026-01-02T03:04:05Z",
    "source": "cifar10",
    "backbone": "resnet18",
    "weights": "DEFAULT",
    "layer": "layer4:avg",
    "C": 0.01,
    "accuracy": {"train": 0.91234, "val": 0.8765, "test": 0.87},
    "loss": {"train": 0.2, "val": 0.4, "test": 0.41},
    "seconds": {"extract": 100.0, "read": 0.5, "fit": 9.3, "total": 110.25},
    "columns": 512,
    "bytes": 102_400_000,
    "images": 60_000,
    "seed": 0,
}
TRAIN = {
    **{key: value for key, value in FIT.items() if key not in ("layer", "C", "columns", "bytes")},
    "kind": "train",
    "mode": "finetune",
    "epochs": 10,
    "parameters": {"total": 11_181_642, "trainable": 11_181_642, "frozen": 0},
    "accuracy": {"train": 0.99, "val": 0.95, "test": 0.9501},
    "seconds": {"train": 3000.0, "total": 3175.4},
}


class Recorded:
    """A run that holds its record in memory."""

    def __init__(self, name: str, record: dict[str, Any]) -> None:
        self.id = name
        self.record = record

    def read(self) -> dict[str, Any]:
        return self.record


def rows(*records: dict[str, Any]) -> list[dict[str, Any]]:
    return rows_of(Recorded(f"20260102-03040{i}-{r.get('kind', 'fit')}-a1b{i}", r) for i, r in enumerate(records))
