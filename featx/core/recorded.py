"""The network that a run's record points to, by its name and by the hash of its tensors, told without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.core.paths import recorded_path
from featx.core.specs import PreprocessSpec

KEPT_FILE = "weights.safetensors"
"""The file in a run's folder that holds the tensors of the network that it depends on, if they were to be kept."""

HEAD, NETWORK = "head", "network"
"""What a training's model.safetensors holds: its new head, on a base that is found by its hash; or all of it."""


@dataclass(frozen=True)
class Recorded:
    """A network as a run's record tells of it.

    Parameters
    ----------
    run : str
        Id of the run.
    name, weights : str
        As they were asked for.
    file : str or None
        Where the weights were.
    kept : str or None
        Where the run itself has them.
    sha256 : str
        Over the tensors.
    options : dict
        The builder's keywords.
    preprocess : PreprocessSpec
        What an image goes through.
    code, origin : str or None, str
        As `featx.models.backbones.Backbone`, for a user's own network; no origin where the record may not name
        code to run.
    held : dict or None
        ``head`` and ``n_classes`` where the network is that of another training run.
    """

    run: str
    name: str
    weights: str
    file: str | None
    kept: str | None
    sha256: str
    options: dict[str, Any]
    preprocess: PreprocessSpec
    code: str | None
    origin: str
    held: dict[str, Any] | None

    @property
    def named_file(self) -> str | None:
        """Where the weights were, if they were given as a file; None for published ones, and those of a run."""
        asked = self.file is not None and Path(self.weights).name == Path(self.file).name
        return self.file if asked else None

    @property
    def wish(self) -> str:
        """What is wanted, in words."""
        return f"run {self.run} needs the weights {self.weights} of {self.name}, tensors with SHA-256 {self.sha256}"


def recorded(run: str, folder: Path, record: Mapping[str, Any], *, ours: bool) -> Recorded:
    """Read what a record says of the network that its run depends on.

    Parameters
    ----------
    run, folder : str, Path
        The run's id and folder.
    record : mapping
        Its record.
    ours : bool
        Whether featx wrote it itself: code that other records name is not run.

    Raises
    ------
    KeyError, TypeError, ValueError
        The record is damaged.
    """
    code, origin = record.get("code"), str(record.get("origin") or "") if ours else ""
    kept, held = folder / KEPT_FILE, record.get("held")
    return Recorded(
        run=run,
        name=str(record["backbone"]),
        weights=recorded_path(str(record["weights"])),
        file=recorded_path(str(record["weights_file"])) if record.get("weights_file") else None,
        kept=str(kept) if kept.is_file() else None,
        sha256=str(record["weights_sha256"]),
        options=dict(record["options"]),
        preprocess=PreprocessSpec.from_dict(record["preprocess"]),
        code=None if code is None else str(code),
        origin=origin,
        held={"head": str(held["head"]), "n_classes": int(held["n_classes"])} if held else None,
    )
