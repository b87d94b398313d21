"""Which network, which weights, which preprocessing; torch is loaded only where the memo does not know."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.cache.memo import Memo, file_stamp, is_settled
from featx.errors import OptionError, WeightsError
from featx.specs import ExtractConfig, PreprocessSpec

if TYPE_CHECKING:
    from torch import nn

PIXELS = "pixels"
_WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


@dataclass(frozen=True)
class Backbone:
    """A network with weights and the preprocessing that belongs to them.

    Parameters
    ----------
    name : str
        As in ``featx layers``.
    weights : str
        As asked: ``DEFAULT``, ``random:SEED``, a file.
    weights_sha256 : str
        Over the weight tensors.
    options : dict
        The builder's keywords.
    preprocess : PreprocessSpec
        What an image goes through.
    head, head_width : str, int
        Dotted name of the classifier and how many values go into it; empty and 0 where there is none.
    left_out : tuple of str
        The classifier, where the file's did not fit.
    notes : tuple of str
        What the user should be told.
    file : str or None
        Where the weights lie.
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

    def module(self) -> nn.Module:
        """Build the network anew: weights loaded, eval mode, float32, on the CPU, without gradients.

        Raises
        ------
        WeightsError
            Where the weights are no longer those that were looked at.
        """
        module, _ = _build(self.name, self.weights, self.options, self.head, self.file)
        from featx.weights import state_hash  # heavy

        if self.name != PIXELS and state_hash(module) != self.weights_sha256:
            raise WeightsError(f"the weights of {self.name} changed while featx was running", "run it again")
        return module.eval().requires_grad_(False)


def resolve(
    name: str,
    *,
    weights: str = ExtractConfig.weights,
    size: int | None = ExtractConfig.size,
    mean: Sequence[float] | None = ExtractConfig.mean,
    std: Sequence[float] | None = ExtractConfig.std,
    channels: int = 3,
    memo: Memo | None = None,
) -> Backbone:
    """Look a backbone up.

    Parameters
    ----------
    name : str
        Any torchvision classifier, ``lenet5`` or ``pixels``.
    weights : str
        ``DEFAULT`` or one of torchvision's names, ``random:SEED``, a ``.pth`` or ``.safetensors`` file.
    size : int, optional
        Resize the shorter side to it and cut the centre out, in px; else as the weights were trained.
    mean, std : sequence of float, optional
        One value, or one a channel; else those of the weights, ImageNet's for a file or random weights.
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
    """
    if name == PIXELS:
        return _pixels(size, mean, std, channels)
    taken = channels if name == "lenet5" else 3
    about = {
        "backbone": name,
        "weights": weights,
        "channels": taken,
        "folder": str(Path.cwd()) if _is_file(weights) else "",
        "versions": [version(p) for p in ("torch", "torchvision", "featx")],
    }
    known = memo.get("backbone", about) if memo else None
    if known is None or known["stamp"] != _stamp(known["file"]):
        known = _inspect(name, weights, taken)
        if memo and (known["stamp"] is None or is_settled(known["stamp"])):
            memo.put("backbone", about, known)
    return Backbone(
        name=name,
        weights=weights,
        weights_sha256=known["sha256"],
        preprocess=_adjusted(PreprocessSpec.from_dict(known["preset"]), size, mean, std),
        options=known["options"],
        head=known["head"],
        head_width=known["head_width"],
        left_out=tuple(known["left_out"]),
        notes=tuple(known["notes"]),
        file=known["file"],
    )


def _pixels(size: int | None, mean: Sequence[float] | None, std: Sequence[float] | None, channels: int) -> Backbone:
    plain = PreprocessSpec(None, None, channels, mean=(0.0,) * channels, std=(1.0,) * channels)
    digest = hashlib.sha256(b"").hexdigest()
    return Backbone(PIXELS, "none", digest, _adjusted(plain, size, mean, std))


def _adjusted(
    spec: PreprocessSpec, size: int | None, mean: Sequence[float] | None, std: Sequence[float] | None
) -> PreprocessSpec:
    if size is not None:
        spec = replace(spec, resize=size, crop=size)
    return replace(spec, mean=_wide(mean or spec.mean, spec.channels), std=_wide(std or spec.std, spec.channels))


def _wide(values: Sequence[float], channels: int) -> tuple[float, ...]:
    return tuple(values) * channels if len(values) == 1 else tuple(values)


def _inspect(name: str, weights: str, channels: int) -> dict[str, Any]:
    """Build the network once and note what the key and the user need to know of it."""
    from featx import networks  # heavy
    from featx.weights import load_into, read_state, state_hash

    networks.check_name(name)
    enum, file = _locate(name, weights)
    stamp = _stamp(file)
    state = None if file is None else read_state(Path(file))
    options = networks.builder_options(
        name,
        loaded=state is not None,
        published=enum is not None,
        auxiliary=state is None or any(key.startswith(networks.AUXILIARY) for key in state),
    )
    if name == "lenet5":
        first = None if state is None else state.get("conv1.weight")
        options = {"channels": channels if first is None or first.ndim != 4 else int(first.shape[1])}
    preset = networks.preset_of(name, enum, options.get("channels", 3))
    if name.startswith("vit_"):
        px = networks.vit_size(state or {}) or preset.crop
        options = {"image_size": px}
        preset = preset if px == preset.crop else replace(preset, resize=px, crop=px)
    module = _drawn(name, weights, options, file)
    head = networks.find_head(module)
    width = networks.head_width(module.get_submodule(head))
    left_out = () if state is None else load_into(module, state, head, weights)
    notes = [f"{weights}: its classifier {part} has another shape and was left out" for part in left_out]
    return {
        "sha256": state_hash(module),
        "preset": asdict(preset),
        "options": options,
        "head": head,
        "head_width": width,
        "left_out": left_out,
        "notes": notes,
        "file": file,
        "stamp": stamp,
    }


def _locate(name: str, weights: str) -> tuple[Any, str | None]:
    """Return torchvision's enum, if the weights are published, and the weights' file, if they have one."""
    from featx.weights import fetch, published  # heavy

    if weights.partition(":")[0] == "random":
        if not re.fullmatch(r"random:\d{1,18}", weights):
            raise OptionError(f"weights {weights[:80]!r}, expected random:SEED", "for example random:0")
        return None, None
    if _is_file(weights):
        path = Path(weights).expanduser()
        if not path.is_file():
            raise WeightsError(f"there is no weights file {weights}", "check the path, or use random:0")
        return None, str(path.absolute())
    if name == "lenet5":
        raise OptionError(
            f"lenet5 has no published weights {weights[:80]!r}, expected random:SEED or a file",
            "use --weights random:0",
        )
    enum = published(name, weights)
    return enum, str(fetch(enum))


def _is_file(weights: str) -> bool:
    """Tell whether the weights are meant to be a file: they look like one, or are one."""
    path = Path(weights).expanduser()
    return path.suffix in _WEIGHT_SUFFIXES or path.is_file()


def _build(
    name: str, weights: str, options: dict[str, Any], head: str, file: str | None
) -> tuple[nn.Module, tuple[str, ...]]:
    from featx.weights import load_into, read_state  # heavy

    module = _drawn(name, weights, options, file)
    left_out = () if file is None else load_into(module, read_state(Path(file)), head, weights)
    return module.eval(), left_out


def _drawn(name: str, weights: str, options: dict[str, Any], file: str | None) -> nn.Module:
    """Build a network with weights drawn from its seed; those of a file come later."""
    import torch  # heavy

    from featx import networks

    # A generator of its own: drawing weights must not disturb the caller's random numbers.
    with torch.random.fork_rng(devices=[]):
        seed = int(weights.removeprefix("random:")) if file is None and name != PIXELS else 0
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would also seed the caller's GPUs
        return networks.build(name, options)


def _stamp(file: str | None) -> list[int] | None:
    if file is None:
        return None
    try:
        return file_stamp(file)
    except OSError:
        return []
