"""What a fit or a training learns from: its rows and its network, by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from featx.core.hashing import digest_of
from featx.data.splits import Partition
from featx.models.backbone import Backbone

CALLED = ("source",)
"""What an identity says for people: the same images may be called otherwise, such as by a relative path."""


def digests_of(identity: Mapping[str, Any]) -> tuple[str, ...]:
    """Return by which digests a run of an identity is found: the recorded one, and that of earlier featx."""
    return digest_of({name: value for name, value in identity.items() if name not in CALLED}), digest_of(identity)


def same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Tell whether two identities are of the same content and options, whatever it is called."""
    return digests_of(first)[0] == digests_of(second)[0]


def content_of(partition: Partition, backbone: Backbone) -> dict[str, Any]:
    """Return what a run's numbers depend on beside its options, JSON-able: rows, labels, weights, preprocessing."""
    rows = hashlib.sha256()
    for part in partition.parts().values():
        rows.update(part.source.fingerprint().encode())
        rows.update(part.rows.tobytes() + part.labels.tobytes())
    return {
        "rows": rows.hexdigest(),
        "images": {name: len(part) for name, part in partition.parts().items()},
        "classes": digest_of(list(partition.classes)),
        **network_content(backbone),
    }


def network_content(backbone: Backbone) -> dict[str, Any]:
    """Return what the numbers of a network depend on, JSON-able."""
    return {
        "backbone": backbone.name,
        "builder": backbone.options,
        "weights": backbone.weights_sha256,
        "code": backbone.code,
        "preprocess": backbone.preprocess.as_dict(),
    }
