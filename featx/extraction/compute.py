"""Images to rows: one forward pass for several layers, batch by batch, and the check that every value is finite."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from featx.cache.memo import Memo
from featx.core.allocation import keeping_memory
from featx.core.concatenation import Feature, as_feature, parts_of
from featx.core.specs import ExtractConfig, LayerSpec, Progress, no_progress
from featx.core.types import RowNumbers
from featx.data.batch_loader import Batch, Shape, image_shape, load_batches
from featx.data.sources import Source
from featx.errors import FeatureError, FeatxWarning, OptionError, first_few
from featx.models.backbones import Backbone
from featx.models.families import versions

if TYPE_CHECKING:
    from featx.extraction.forward import BatchSizeBackoff, Network
    from featx.extraction.staging import Pending


SMALLEST_BATCH, LARGEST_BATCH = 64, 256
BATCH_PIXELS = 1 << 18
"""Images that go through the network at once: so many px of them, within these numbers of images."""


class Networks:
    """A backbone's network for each shape of images, built, which takes torch, once it is asked for.

    Parameters
    ----------
    backbone : Backbone
        Of all of them.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self._built: dict[Shape, Network] = {}

    def of(self, shape: Shape) -> Network:
        """Return the one for prepared images (C, H, W)."""
        from featx.extraction.forward import Network

        if shape not in self._built:
            self._built[shape] = Network(self.backbone, shape)
        return self._built[shape]


def parse_layers(layers: Sequence[Feature | str]) -> list[LayerSpec]:
    """Return the layers once each, in the order asked, of those that are joined each part; OptionError for none."""
    specs = [part for layer in layers for part in parts_of(as_feature(layer))]
    if not specs:
        raise OptionError("no layer was asked for", "`featx layers BACKBONE` lists them")
    return list(dict.fromkeys(specs))


def expand_layers(specs: Sequence[LayerSpec], source: Source, networks: Networks, memo: Memo) -> list[LayerSpec]:
    """Return the layers with each pattern replaced by what it means, in the order of the network's graph.

    Parameters
    ----------
    specs : sequence of LayerSpec
        Wanted; patterns need the network, unless the memo knows them.
    source : Source
        Its first image tells the size, where the preprocessing leaves that alone.
    networks : Networks
        Whose nodes are meant.
    memo : Memo
        Remembers what a pattern means.

    Raises
    ------
    OptionError
        For a pattern that no node matches, or with a pooling that fits none.
    """
    if not any(spec.is_pattern for spec in specs):
        return list(specs)
    shape = image_shape(source, networks.backbone.preprocess)
    found = (_meaning(spec, shape, networks, memo) if spec.is_pattern else [spec] for spec in specs)
    return list(dict.fromkeys(chain.from_iterable(found)))


def _meaning(pattern: LayerSpec, shape: Shape, networks: Networks, memo: Memo) -> list[LayerSpec]:
    """Return the layers that a pattern stands for, from the memo, which holds texts, or from the network."""
    about = _pattern_facts(pattern, networks.backbone, shape)
    known = memo.get("layers", about)
    if known is not None:
        return [LayerSpec.parse(text) for text in known]
    network = networks.of(shape)
    found = _expanded(pattern, network)
    if not _nameless(pattern, network):  # what is left out is to be told each time
        memo.put("layers", about, [str(spec) for spec in found])
    return found


def _pattern_facts(spec: LayerSpec, backbone: Backbone, shape: Shape) -> dict[str, Any]:
    """Return everything that a pattern's meaning depends on."""
    return {
        "layer": str(spec),
        "backbone": backbone.name,
        "weights": backbone.weights_sha256,
        "code": backbone.code,
        "options": backbone.options,
        "left_out": list(backbone.left_out),
        "shape": list(shape),
        "versions": versions(backbone.name),
    }


def _nameless(spec: LayerSpec, network: Network) -> list[str]:
    """Return the matching nodes that no layer can be written for: a user's own modules may be called anything."""
    return [name for name in network.nodes if spec.matches(name) and not LayerSpec.can_name(name)]


def _expanded(spec: LayerSpec, network: Network) -> list[LayerSpec]:
    """Return the nodes that a pattern matches and that its pooling fits."""
    if not spec.is_pattern:
        return [spec]
    matching = _matching(spec, network)
    fitting = []
    for one in matching:
        with suppress(OptionError):
            network.columns(one)
            fitting.append(one)
    if not fitting:
        network.columns(matching[0])  # says why it does not fit
    return fitting


def _matching(spec: LayerSpec, network: Network) -> list[LayerSpec]:
    nameless = _nameless(spec, network)
    named = [name for name in network.nodes if spec.matches(name) and name not in nameless]
    if not named:
        said = f", but for {first_few(nameless)}, which cannot be named" if nameless else ""
        raise OptionError(
            f"no layer matches {spec.node[:80]!r}, in which '*' stands for anything but a dot{said}",
            f"`featx layers {network.backbone.name}` lists them",
        )
    if nameless:
        said = f"{len(nameless)} of the layers that {spec.node[:80]!r} matches cannot be named and are left out"
        warnings.warn(f"{said}: {first_few(nameless)}", FeatxWarning, stacklevel=2)
    return [replace(spec, node=name) for name in named]


def layers_of(specs: Sequence[LayerSpec], network: Network) -> list[LayerSpec]:
    """Return layers once each, patterns replaced by what they mean in a network."""
    return list(dict.fromkeys(one for spec in specs for one in _expanded(spec, network)))


def compute(
    source: Source,
    backbone: Backbone,
    layers: Sequence[Feature | str],
    config: ExtractConfig | None = None,
    progress: Progress = no_progress,
    on_skip: Callable[[int, str], None] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Compute features in memory, without a store: one (n, columns) array a layer, by ``str(LayerSpec)``.

    Parameters
    ----------
    on_skip : callable, optional
        Told the row of an image that cannot be decoded, and the reason; that row is then what a black image gives.
        Without it such an image is an error, whatever the configuration says.

    Raises
    ------
    ImageError, FeatureError, OptionError
        As `extract`.
    """
    from featx.extraction.forward import Network

    config = replace(config or ExtractConfig(), on_error="skip" if on_skip else "raise")
    network = Network(backbone, image_shape(source, backbone.preprocess))
    specs = layers_of(parse_layers(layers), network)
    found = [np.empty((len(source), network.columns(spec)), config.dtype) for spec in specs]
    rows = np.arange(len(source), dtype=np.int64)
    size = batch_size_of(config, network.shape)
    batches = np.split(rows, range(size, len(rows), size))
    for batch, features, _ in activations(source, network, specs, (), batches, config):
        for spec, X, kept in zip(specs, features, found, strict=True):
            kept[batch.rows] = check_and_cast(X, batch, source, spec, config)
        if on_skip is not None:
            for row, reason in batch.skipped:
                on_skip(row, reason)
        progress("extract", int(batch.rows[-1]) + 1, len(source))
    return {str(spec): kept for spec, kept in zip(specs, found, strict=True)}


def batch_size_of(config: ExtractConfig, shape: Shape) -> int:
    """Return how many images go through the network at once: as many as asked for, else more of small ones.

    Parameters
    ----------
    config : ExtractConfig
        Which may ask for a number.
    shape : tuple of int
        (C, H, W) of a prepared image.
    """
    if config.batch_size is not None:
        return config.batch_size
    _, height, width = shape
    return min(max(BATCH_PIXELS // (height * width), SMALLEST_BATCH), LARGEST_BATCH)


def activations(
    source: Source,
    network: Network,
    specs: Sequence[LayerSpec],
    keep: Sequence[LayerSpec],
    batches: Iterable[RowNumbers],
    config: ExtractConfig,
    room: BatchSizeBackoff | None = None,
    *,
    fused: bool = True,
) -> Iterator[tuple[Batch, list[npt.NDArray[np.float32]], dict[str, float]]]:
    """Give each batch, one array a layer, and the seconds it took to read and to compute."""
    from featx.core.device import pick_device
    from featx.extraction.forward import Forward
    from featx.extraction.side_by_side import SideBySide, pays
    from featx.extraction.staging import in_turn

    device = pick_device(config.device)
    forward = Forward(network, specs, keep, device, config.precision, room, fused=fused)
    team = SideBySide(forward) if pays(forward, network.shape) else None
    begin = team or forward
    loaded = load_batches(
        source,
        batches,
        network.backbone.preprocess,
        network.shape,
        workers=config.workers,
        on_error=config.on_error,
        bursts=device.type == "cpu" and team is None,
    )
    reading = 0.0

    def begun() -> Iterator[tuple[Batch, Pending]]:
        nonlocal reading
        clock = time.perf_counter()
        for batch in loaded:
            reading += time.perf_counter() - clock
            yield batch, begin(*batch.views)
            clock = time.perf_counter()

    clock = time.perf_counter()
    try:
        with keeping_memory():
            for batch, features in in_turn(begun(), begin.ahead):
                yield batch, features, {"read": reading, "forward": time.perf_counter() - clock - reading}
                reading, clock = 0.0, time.perf_counter()
    finally:
        if team is not None:
            team.close()


def check_and_cast(
    X: npt.NDArray[np.float32], batch: Batch, source: Source, spec: Feature, config: ExtractConfig
) -> npt.NDArray[Any]:
    """Return a batch's rows in the stored dtype.

    Raises
    ------
    FeatureError
        A value is NaN or infinite; names the layer and the image.
    """
    with np.errstate(over="ignore"):
        rows: npt.NDArray[Any] = X.astype(config.dtype, copy=False)
    # The sum is finite unless a value is not, or the values are so large that they are looked at one by one.
    if not np.isfinite(rows.sum(dtype=np.float64)):
        broken, skipped = np.flatnonzero(~np.isfinite(rows).all(axis=1)), dict(batch.skipped)
        bad = [int(i) for i in broken if int(batch.rows[i]) not in skipped]
        if len(bad):
            hint = (
                "use --dtype float32"
                if np.isfinite(X[bad[0]]).all()
                else "look at the weights, or use --precision fp32"
            )
            raise FeatureError(
                f"layer {spec} gives NaN or infinite values for image {source.ids[batch.rows[bad[0]]]}", hint
            )
    return rows
