"""What a worker is told of an extraction: what to open, what it must find there, and which shards to compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from featx.cache.key import FeatureKey
from featx.cache.schema import Plan
from featx.core.executors.agreement import CODE, code_of
from featx.core.packages import version
from featx.core.specs import BackboneConfig, ExtractConfig, LayerSpec
from featx.data.request import SourceRequest, request_of
from featx.data.source import Source
from featx.errors import OptionError, either
from featx.models.backbones import Backbone, is_weights_file
from featx.models.families import family_of, versions

FROM = tuple(f"featx.{package}" for package in ("core", "cache", "graph", "data", "models", "extraction"))
"""Packages that features come from."""


@dataclass(frozen=True)
class Work:
    """One split's images and one network, as another process opens them, and what it must find.

    Parameters
    ----------
    request : SourceRequest
        How the source was asked for.
    rows : str
        The fingerprint of its row hashes.
    backbone, network, channels : str, BackboneConfig, int
        As `featx.models.backbones.look_up` takes them.
    weights, code : str, str or None
        SHA-256 of the weights, and of a user's own network code.
    keys : tuple of (LayerSpec, str)
        The wanted layers and the digests of their keys.
    config : ExtractConfig
        Of the extraction.
    home : str
        Where the store is.
    versions : tuple of (str, str)
        Of what features depend on: `versions_of`.
    run : str
        Names the extraction that this is a part of.
    on_command_line : bool
        How errors are told.
    """

    request: SourceRequest
    rows: str
    backbone: str
    network: BackboneConfig
    channels: int
    weights: str
    code: str | None
    keys: tuple[tuple[LayerSpec, str], ...]
    config: ExtractConfig
    home: str
    versions: tuple[tuple[str, str], ...]
    run: str
    on_command_line: bool


@dataclass(frozen=True)
class ShardTask:
    """Work whose keys are laid out in the store: what `featx.extraction.worker.extract_shard` is given with a number.

    Parameters
    ----------
    work : Work
        What to open.
    split : str
        For the record.
    layers : tuple of (LayerSpec, str, Plan)
        Computed together, each with its key's digest and its plan in the store.
    """

    work: Work
    split: str
    layers: tuple[tuple[LayerSpec, str, Plan], ...]


@dataclass(frozen=True)
class ShardReceipt:
    """What came of a block of shards; the features are in the store.

    Parameters
    ----------
    block : int
        Its number.
    finished : bool
        Whether all of its shards are in the store; if not, another process has it, or what it copies from is missing.
    images : int
        How many went through the network here.
    put : tuple of int
        Rows computed, by layer.
    seconds : dict
        By stage.
    device, batch_size : str, int or None
        As `featx.extraction.extract.ExtractResult`.
    notes, warnings : tuple of str
        What is to be said.
    """

    block: int
    finished: bool
    images: int
    put: tuple[int, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    device: str = ""
    batch_size: int | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def work_of(
    source: Source,
    backbone: Backbone,
    keys: Mapping[LayerSpec, FeatureKey],
    config: ExtractConfig,
    home: Path,
    run: str,
) -> Work:
    """Return what another process needs to compute features of a source.

    Raises
    ------
    OptionError
        The images, or the network, are only in this process.
    """
    request = request_of(source)
    if request is None:
        raise OptionError(
            f"images of {source.spec} are in this process only, expected a source that workers can open themselves",
            "use load_source or load_splits with a folder or file that all workers see",
        )
    if not backbone.asked_as:
        raise OptionError(
            f"the network {backbone.name[:80]} is in this process only, expected one that workers can look up",
            "get it by featx.models.backbones.resolve",
        )
    return Work(
        request=request.from_anywhere(),
        rows=source.fingerprint(),
        backbone=_name_anywhere(backbone),
        network=_weights_anywhere(backbone.asked),
        channels=backbone.preprocess.channels,
        weights=backbone.weights_sha256,
        code=backbone.code,
        keys=tuple((spec, key.digest) for spec, key in keys.items()),
        config=config,
        home=str(home.absolute()),
        versions=versions_of(backbone.asked_as),
        run=run,
        on_command_line=bool(either("yes", "")),
    )


def versions_of(backbone: str) -> tuple[tuple[str, str], ...]:
    """Return the versions of the packages that features depend on, and which code of featx this is.

    Raises
    ------
    OptionError
        For a network of a package that is not installed.
    """
    packages = {**versions(backbone), "numpy": version("numpy"), "pillow": version("pillow"), "h5py": version("h5py")}
    return (*packages.items(), (CODE, code_of(*FROM)))


def _name_anywhere(backbone: Backbone) -> str:
    """Return a backbone's name as a process with another working folder understands it."""
    own = backbone.held is None and family_of(backbone.asked_as).is_users_code
    return backbone.origin if own else backbone.asked_as


def _weights_anywhere(asked: BackboneConfig) -> BackboneConfig:
    if not is_weights_file(asked.weights):
        return asked
    return replace(asked, weights=str(Path(asked.weights).expanduser().absolute()))
