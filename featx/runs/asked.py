"""What a run was asked for beside its own options, as its record keeps it, so that it can be asked for again."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from featx.core.backbone_names import RUN, is_run
from featx.core.paths import expanded
from featx.data.registry import BUILT_IN
from featx.data.splits import Partition
from featx.models.backbones import Backbone, is_weights_file


def asked_for(partition: Partition, backbone: Backbone) -> dict[str, Any]:
    """Return where the images and the network came from, JSON-able, relative paths made absolute."""
    network = asdict(backbone.asked)
    return {
        "source": _source(partition.train.source.spec),
        "root": None if partition.root is None else str(expanded(partition.root).absolute()),
        "exclude": _excluded(partition),
        "backbone": _backbone(backbone),
        "network": network | {"weights": _weights(network["weights"])},
    }


def _source(spec: str) -> str:
    path = expanded(spec)
    return str(path.absolute()) if spec not in BUILT_IN and os.path.lexists(path) else spec


def _excluded(partition: Partition) -> str | None:
    found = partition.excluded
    return None if found is None else str(expanded(found.exclusion.path).absolute())


def _backbone(backbone: Backbone) -> str:
    named = backbone.asked_as
    return _weights(named) if is_run(named) else backbone.origin or named or backbone.name


def _weights(text: str) -> str:
    """Return the name of weights, or of a run, with the path in it made absolute."""
    if is_run(text):
        name = text.removeprefix(RUN)
        return f"{RUN}{Path(name).absolute()}" if os.sep in name and os.path.lexists(name) else text
    return str(expanded(text).absolute()) if is_weights_file(text) else text
