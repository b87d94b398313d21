"""A training's history for TensorBoard, an extra."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from featx.errors import OptionError

Line = Mapping[str, float]


@contextmanager
def board(folder: Path | None) -> Iterator[Callable[[Line], None]]:
    """Yield what is called with each epoch's line, and writes it below `folder`; None writes nothing.

    Raises
    ------
    OptionError
        TensorBoard is not installed.
    """
    if folder is None:
        yield lambda line: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as exc:
        raise OptionError("--tensorboard needs the package tensorboard", "pip install 'featx[tensorboard]'") from exc
    with SummaryWriter(str(folder)) as writer:

        def write(line: Line) -> None:
            for name, value in line.items():
                if name != "epoch":
                    part, _, what = name.rpartition("_") if name.startswith(("train_", "val_")) else ("", "", name)
                    writer.add_scalar(f"{what}/{part}" if part else what, value, int(line["epoch"]))
            writer.flush()

        yield write
