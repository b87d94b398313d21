"""Which network, which weights, which preprocessing; torch is loaded only where the memo does not know."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx import factories
from featx.adjusting import adjusted
from featx.cache.memo import Memo, file_stamp, is_settled
from featx.code import code_of
from featx.errors import CorruptStoreError, OptionError, WeightsError
from featx.naming import ALIASES, DRAWN, PIXELS, RUN, check_stem, is_factory, is_run, is_timm, versions
from featx.recorded import Recorded
from featx.run_backbone import Held, find_held
from featx.runs import MODEL_FILE, RECORD_FILE
from featx.specs import ExtractConfig, PreprocessSpec, Views

if TYPE_CHECKING:
    from torch import nn

    from featx.trained import Rebuilt

_WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


@dataclass(frozen=True)
class Backbone:
    """A network with weights and the preprocessing that belongs to them.

    Parameters
    ----------
    name : str
        As in ``featx layers``.
    weights : str
        As asked: ``DEFAULT``, ``random:SEED``, a file, ``run:ID``.
    weights_sha256 : str
        Over the weight tensors.
    options : dict
        The builder's keywords.
    preprocess : PreprocessSpec
        What an image goes through.
    head, head_width : str, int
        Dotted name of the classifier and how many values go into it; empty and 0 where there is none.
    left_out : tuple of str
        The classifier, where the file's did not fit; what a run does not hold.
    notes : tuple of str
        What the user should be told.
    file : str or None
        Where the weights lie.
    code : str or None
        SHA-256 of a user's own network code.
    origin : str
        Where that code is: an absolute path or a module, and the factory.
    held, base : Held or None, Backbone or None
        The training run that it is of, and what that run's head stands on, where the run keeps its head alone.
    """

    name: str
    weights: str
    weights_sha256: str
    preprocess: PreprocessSpec
    options: dict[str, Any] = field(default_factory=dict)
    head: str = ""
    head_width: int = 0
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    file: str | None = None
    code: str | None = None
    origin: str = ""
    held: Held | None = None
    base: Backbone | None = None

    def module(self) -> nn.Module:
        """Build the network anew: weights loaded, eval mode, float32, on the CPU, without gradients.

        Raises
        ------
        WeightsError
            Where the weights are no longer those that were looked at.
        """
        from featx.weights import state_hash  # heavy

        module = self._build()
        if self.name != PIXELS and state_hash(module) != self.weights_sha256:
            raise WeightsError(f"the weights of {self.name} changed while featx was running", "run it again")
        return module.eval().requires_grad_(False)

    def _build(self) -> nn.Module:
        if self.held is not None:
            return self.rebuilt().network
        from featx.building import build

        own = factories.parse(self.origin) if self.origin else None
        return build(self.name, self.weights, self.options, self.head, self.file, own, self.code)

    def rebuilt(self) -> Rebuilt:
        """Build the training run's network anew, with its head.

        Raises
        ------
        OptionError, WeightsError, CorruptStoreError
            As `featx.trained.rebuild`.
        """
        from featx.trained import rebuild  # heavy

        assert self.held is not None
        return rebuild(self.held, self.base.module() if self.base else None)


def resolve(
    name: str,
    *,
    weights: str = ExtractConfig.weights,
    stem: str | None = ExtractConfig.stem,
    size: int | None = ExtractConfig.size,
    mean: Sequence[float] | None = ExtractConfig.mean,
    std: Sequence[float] | None = ExtractConfig.std,
    resize: str | None = ExtractConfig.resize,
    interpolation: str | None = ExtractConfig.interpolation,
    views: Views = ExtractConfig.views,
    channels: int = 3,
    memo: Memo | None = None,
) -> Backbone:
    """Look a backbone up.

    Parameters
    ----------
    name : str
        Any torchvision classifier, ``lenet5``, ``pixels``, one of timm's networks as ``timm:NAME`` or
        ``timm:NAME.TAG``, ``mobilenet_v1`` (timm's), a factory of one's own: ``file.py:factory`` or
        ``package.module:factory``; or the network of a training run, with its weights, preprocessing and size:
        ``run:`` and the run's id, its beginning, or its folder.
    weights : str
        ``DEFAULT`` or one of torchvision's names, ``random:SEED``, a ``.pth`` or ``.safetensors`` file, or ``run:ID``
        as above, where the names agree. For a factory DEFAULT means: as it returns the network.
    stem : str, optional
        ``cifar``: first layers for images of 32 px, for torchvision's ResNets. See `featx.networks.cifar_stem`.
    size : int, optional
        Resize the shorter side to it and cut the centre out, in px; else as the weights were trained.
    mean, std : sequence of float, optional
        One value, or one a channel; else those of the weights, ImageNet's for a file or random weights.
    resize, interpolation : str, optional
        ``crop``, ``squash``, ``pad`` or ``none``, and ``bilinear`` or ``bicubic``: see `PreprocessSpec`; else as
        the weights were trained.
    views : Views
        Which views of an image are averaged. Where several crops would be cut out of images that were resized to
        the crop's own size, they are resized to 8/7 of it first: 256 px for 224.
    channels : int
        Of the source: `lenet5` and `pixels` take 1 or 3, all others 3.
    memo : Memo, optional
        Remembers the weights' hash, so that a finished key needs no torch.

    Raises
    ------
    OptionError
        For a name, size or value that does not exist.
    WeightsError
        For weights that cannot be had.
    CorruptStoreError
        For a run whose record is damaged.
    """
    name = ALIASES.get(name, name)
    held = find_held(name, weights, stem, memo.home if memo else None)
    if held is not None and weights.startswith(DRAWN):
        found = _drawn_anew(held, weights, memo)
    elif held is not None:
        found = look_up_held(held, memo)
    else:
        check_stem(name, stem)
        found = _pixels(channels) if name == PIXELS else _look_up(name, weights, stem, channels, memo)
    return replace(found, preprocess=adjusted(found.preprocess, size, resize, interpolation, mean, std, views))


def _pixels(channels: int) -> Backbone:
    plain = PreprocessSpec(None, None, channels, mean=(0.0,) * channels, std=(1.0,) * channels)
    return Backbone(PIXELS, "none", hashlib.sha256(b"").hexdigest(), plain)


def _look_up(name: str, weights: str, stem: str | None, channels: int, memo: Memo | None) -> Backbone:
    """Return a network with its weights' own preprocessing, as the memo knows it or as it is found to be."""
    taken = channels if name == "lenet5" else 3
    own = is_factory(name)
    about = {
        "backbone": name,
        "weights": weights,
        "stem": stem,
        "channels": taken,
        "folder": str(Path.cwd()) if own or is_weights_file(weights) else "",
        "path": sys.path if own else [],
        "versions": versions(name),
    }
    # What a factory loads from elsewhere has no stamp: such weights are looked at each time.
    seen = not own or weights != ExtractConfig.weights
    known = _known(about, name if own else None, memo, seen, lambda: _inspect(name, weights, stem, taken))
    return _backbone(known, weights)


def _drawn_anew(held: Held, weights: str, memo: Memo | None) -> Backbone:
    """Return a run's network with the preprocessing that it was trained with, and weights drawn anew."""
    name, channels = held.origin or held.name, held.preprocess.channels
    drawn = _look_up(name, weights, held.options.get("stem"), channels, memo)
    return replace(drawn, preprocess=held.preprocess)


def look_up_held(held: Held, memo: Memo | None, base_weights: str | None = None) -> Backbone:
    """Return a run's network with its weights, and the preprocessing that it was trained with.

    Parameters
    ----------
    held : Held
        Of the run.
    base_weights : str, optional
        Where the weights lie that its head was trained on, as `look_up_recorded`.

    Raises
    ------
    OptionError, WeightsError, CorruptStoreError
        As `resolve`.
    """
    base = None if held.base is None else look_up_recorded(held.base, memo, base_weights)

    def inspect() -> dict[str, Any]:
        from featx.trained import inspect_trained  # heavy

        return inspect_trained(held, base.module() if base else None)

    # Where the base lies does not matter: it was found to be the right one.
    about = {"held": asdict(replace(held, base=None)), "base": base and base.weights_sha256}
    about["versions"] = versions(held.name)
    known = _known(about, held.origin or None, memo, True, inspect)
    return replace(_backbone(known, held.run), held=held, base=base)


def look_up_recorded(found: Recorded, memo: Memo | None, weights: str | None = None) -> Backbone:
    """Return the network that a run stands on, its tensors and its code being those that it was made with.

    Parameters
    ----------
    found : Recorded
        What the run's record says of it.
    weights : str, optional
        A file, or ``run:ID``, that holds the tensors now; else those that the run keeps, else those that it names.

    Raises
    ------
    OptionError
        The code is no longer what it was, or may not be run.
    WeightsError
        The tensors are not there, or are others; says which are wanted.
    CorruptStoreError
        Runs that stand on each other in a circle, which somebody made up.
    """
    found.check_origin()
    given = weights or found.kept
    try:
        network = _as_given(found, given, memo) if given else _as_named(found, memo)
    except RecursionError:
        raise CorruptStoreError(f"run {found.run} stands on itself", "run its command again") from None
    except (WeightsError, OptionError) as exc:
        if isinstance(exc, OptionError) and not is_run(given or found.weights):
            raise
        raise WeightsError(f"{found.wish}: {exc.message}", _where(found)) from exc
    if network.code != found.code:
        raise OptionError(f"the code of {found.name} changed since run {found.run} was made", "run its command again")
    if network.weights_sha256 != found.sha256:
        other = f"of SHA-256 {network.weights_sha256}"
        if given:
            raise WeightsError(f"{found.wish}, and {given} holds others, {other}", _where(found))
        raise WeightsError(f"{found.wish}: they are no longer those, but {other}", _where(found))
    return replace(network, preprocess=found.preprocess)


def _where(found: Recorded) -> str:
    return f"`featx predict {found.run} IMAGE... --weights FILE` takes them from where they lie now"


def _as_named(found: Recorded, memo: Memo | None) -> Backbone:
    weights = found.named_file or found.weights
    name, stem = found.origin or found.name, found.options.get("stem")
    return resolve(name, weights=weights, stem=stem, channels=found.preprocess.channels, memo=memo)


def _as_given(found: Recorded, weights: str, memo: Memo | None) -> Backbone:
    """Build the network as it was recorded, whatever its options would be for a file of unknown origin."""
    from featx import building  # heavy

    path = Path(weights).expanduser()
    if is_run(weights) or (path.name == MODEL_FILE and path.with_name(RECORD_FILE).is_file()):
        weights = weights if is_run(weights) else f"{RUN}{path.parent}"
        held = find_held(found.origin or found.name, weights, None, memo.home if memo else None)
        assert held is not None
        return look_up_held(held, memo)
    file = building.existing(weights)
    if found.held is not None:
        return look_up_held(_held_in(file, found), memo)

    def inspect() -> dict[str, Any]:
        return building.inspect_recorded(found.name, file, found.options, found.origin)

    about = {"recorded": [found.name, found.options, found.origin], "file": file, "versions": versions(found.name)}
    known = _known(about, found.origin or None, memo, True, inspect)
    return _backbone(known, known["weights"])


def _held_in(file: str, found: Recorded) -> Held:
    """Return a training run's network whose tensors are in a file of their own."""
    assert found.held is not None
    return Held(
        run=file,
        file=file,
        name=found.name,
        options=found.options,
        preprocess=found.preprocess,
        head=found.held["head"],
        n_classes=found.held["n_classes"],
        code=found.code,
        origin=found.origin,
    )


def _known(
    about: Mapping[str, Any], own: str | None, memo: Memo | None, lasting: bool, inspect: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return what the memo knows of a network, where that still holds, else what is found and may be remembered."""
    known: dict[str, Any] | None = memo.get("backbone", about) if memo else None
    if known is None or not _is_current(known, own):
        known = inspect()
        if memo and lasting and all(is_settled(stamp) for _, stamp in known["files"]):
            memo.put("backbone", about, known)
    return known


def _backbone(known: Mapping[str, Any], weights: str) -> Backbone:
    return Backbone(
        name=known["name"],
        weights=weights,
        weights_sha256=known["sha256"],
        preprocess=PreprocessSpec.from_dict(known["preset"]),
        options=known["options"],
        head=known["head"],
        head_width=known["head_width"],
        left_out=tuple(known["left_out"]),
        notes=tuple(known["notes"]),
        file=known["file"],
        code=known["code"],
        origin=known["origin"],
    )


def _is_current(known: Mapping[str, Any], own: str | None) -> bool:
    """Tell whether what was found of a network still holds; `own` names the factory of one that is the user's."""
    if not all(_stamp(file) == stamp for file, stamp in known["files"]):
        return False
    # Stamps tell of files that were there: a module that is new may stand before them, or be one that was missed.
    return own is None or bool(code_of(factories.sources(factories.parse(own))) == known["code"])


def _inspect(name: str, weights: str, stem: str | None, channels: int) -> dict[str, Any]:
    from featx import building  # heavy

    if is_timm(name):
        return building.inspect_timm(name, weights, is_weights_file(weights))
    if is_factory(name):
        return building.inspect_own(factories.parse(name), weights, is_weights_file(weights))
    return building.inspect_named(name, weights, stem, is_weights_file(weights), channels)


def is_weights_file(weights: str) -> bool:
    """Tell whether weights are meant to be a file: they look like one, or are one."""
    path = Path(weights).expanduser()
    return path.suffix in _WEIGHT_SUFFIXES or path.is_file()


def _stamp(file: str) -> list[int]:
    try:
        return file_stamp(file)
    except OSError:
        return []
