"""The key of one layer's features of one source."""

from __future__ import annotations

from featx.cache.key import FeatureKey
from featx.core.specs import ExtractConfig, LayerSpec
from featx.data.source import Source
from featx.models.backbones import Backbone


def feature_key(source: Source, backbone: Backbone, spec: LayerSpec, config: ExtractConfig) -> FeatureKey:
    """Return the key of one layer's features of one source."""
    return FeatureKey(
        rows=source.fingerprint(),
        n_rows=len(source),
        backbone=backbone.name,
        weights=backbone.weights_sha256,
        layer=str(spec),
        preprocess=backbone.preprocess.as_dict(),
        precision=config.precision,
        dtype=config.dtype,
        options=backbone.options,
        code=backbone.code,
    )
