"""Features of all images of an audit: extracted where the store lacks them, on the rows that all layers have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featx.audit.audit import LayersOf
from featx.audit.images import AuditedImages
from featx.audit.rows import rows_in_all
from featx.cache.store import FeatureStore, FeatureTable
from featx.core.specs import ExtractConfig, LayerSpec, Progress, no_progress
from featx.errors import SourceError
from featx.extraction.extract import extract
from featx.models.backbones import Backbone


def audited_features(
    images: AuditedImages,
    backbone: Backbone,
    layers: Sequence[LayerSpec],
    store: FeatureStore,
    config: ExtractConfig,
    progress: Progress = no_progress,
) -> tuple[LayersOf, list[dict[str, str]]]:
    """Return the features of all images, and which were skipped.

    Raises
    ------
    FeatxError
        As `extract`; SourceError where no image is left.
    """
    result = extract(images.sources, backbone, layers, store, config, progress)
    tables: dict[str, dict[str, FeatureTable]] = {}
    for line in result.layers:
        tables.setdefault(line["layer"], {})[line["split"]] = result.tables[line["split"], line["layer"]]
    features, _, _ = rows_in_all(tables)
    rows = [
        images.start(split) + row
        for split in images.sources
        for row in sorted(set.intersection(*(set(table[split].rows.tolist()) for table in tables.values())))
    ]
    if not rows:
        raise SourceError("no image is left that all layers have", "mend the images that were skipped")
    return LayersOf(features, np.array(rows, np.int64)), result.skipped
