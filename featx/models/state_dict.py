"""Weights from strangers: published ones in torch.hub's cache, and local files; no pickle is ever run."""

from __future__ import annotations

import difflib
import hashlib
import pickle
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from featx.core.http import NetworkError, download
from featx.core.specs import Progress
from featx.errors import StoreError, WeightsError
from featx.models.weights import check_published

StateDict = dict[str, torch.Tensor]

_NESTED = ("state_dict", "model_state_dict", "model", "model_ema")
_PREFIXES = ("module.", "_orig_mod.", "backbone.", "model.")
_LOOKED_AT = 20
"""Unknown names whose nearest is looked for: a file of another network has thousands."""
READABLE = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
"""How the names of files with weights end."""


def published(name: str, weights: str) -> Any:
    """Return torchvision's weights enum of a network.

    Parameters
    ----------
    name : str
        One of torchvision's classifiers.
    weights : str
        ``DEFAULT``, ``IMAGENET1K_V1``, ``ResNet18_Weights.IMAGENET1K_V1``, ...

    Raises
    ------
    OptionError
        For weights that the network does not have.
    """
    import torchvision  # other networks' tensors do without

    kind = torchvision.models.get_model_weights(name)
    return kind[check_published(name, weights, kind.__name__, list(kind.__members__))]


def fetch(weights: Any) -> Path:
    """Return the file of published weights in torch.hub's cache, downloaded where it is absent.

    Raises
    ------
    WeightsError
        Where it cannot be downloaded, or its SHA-256 is not the one that its name carries.
    """
    return fetch_url(weights.url)


def fetch_url(url: str) -> Path:
    """Return the file of a URL in torch.hub's cache, as `fetch`."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    digest = _published_digest(url)
    if not path.exists():
        _download(url, path, digest)
    if digest is not None:
        actual = file_hash(path)
        if not actual.startswith(digest):
            raise WeightsError(
                f"{path} is damaged: its SHA-256 begins {actual[: len(digest)]}, expected {digest}",
                "delete it and run the command again",
            )
    return path


def match_published(name: str, path: Path) -> Any:
    """Return the published weights of a torchvision classifier that a file is a copy of, or None."""
    actual = file_hash(path)
    import torchvision

    for weights in torchvision.models.get_model_weights(name):
        digest = _published_digest(weights.url)
        if digest is not None and actual.startswith(digest):
            return weights
    return None


def _published_digest(url: str) -> str | None:
    """Return the first digits of the SHA-256 that the name of a published file carries."""
    found = re.search(r"-([0-9a-f]{8,})\.", url.rsplit("/", 1)[-1])
    return found.group(1) if found else None


def _download(url: str, path: Path, digest: str | None) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _display() as progress:
            download(url, path, "sha256", digest or "", progress)
    except (NetworkError, StoreError, OSError) as exc:
        reason = exc.message if isinstance(exc, StoreError) else str(exc)
        raise WeightsError(
            f"weights {path.name} are not in {path.parent} and could not be downloaded: "
            f"{' '.join(reason.split())[:120]}",
            f"put {url} into that folder, or use --weights random:0 or a file of your own",
        ) from exc


@contextmanager
def _display() -> Iterator[Progress]:
    """Show on a terminal how far a download is."""
    from rich.console import Console
    from rich.progress import Progress as Display

    with Display(console=Console(stderr=True), disable=not sys.stderr.isatty()) as display:
        task = display.add_task("download", total=None)
        yield lambda stage, done, total: display.update(task, description=stage, completed=done, total=total)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_state(path: Path, names: Callable[[], Collection[str]] = frozenset) -> StateDict:
    """Read a state dict from a ``.safetensors`` or a PyTorch file, without running what a pickle asks for.

    One that lies under ``state_dict``, ``model``, ``model_state_dict`` or ``model_ema`` is found; ``module.``,
    ``backbone.``, ``model.`` or ``_orig_mod.`` before every name is taken off. Where other things stand beside, it is
    taken off only if the whole network is found behind it.

    Parameters
    ----------
    path : Path
        The file.
    names : callable
        Gives the names of the network's tensors; called only where a prefix is in question.

    Raises
    ------
    WeightsError
        For a file that is none, or that holds more than tensors.
    """
    loaded = _load(path)
    state = _unwrapped(loaded, names)
    if not state or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()):
        raise WeightsError(
            f"weights file {path} holds a {type(loaded).__name__}, expected tensors by name",
            "save it as torch.save(model.state_dict(), path)",
        )
    return state


def _load(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings():  # a file that is refused anyway needs no second opinion
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as exc:
        raise WeightsError(
            f"weights file {path} is no plain state dict: it is damaged, or it asks to run code, which featx refuses",
            "save it as torch.save(model.state_dict(), path), or as .safetensors",
        ) from exc
    # Damaged files make torch and safetensors raise RuntimeError, EOFError, KeyError, ... : each is a bad file.
    except Exception as exc:
        raise WeightsError(
            f"weights file {path} cannot be read: {' '.join(str(exc).split())[:160] or type(exc).__name__}",
            "expected a .safetensors file or torch.save(model.state_dict(), path)",
        ) from exc


def _unwrapped(loaded: Any, names: Callable[[], Collection[str]]) -> StateDict:
    """Return the tensors of a file by the network's own names; nothing where it holds no names at all."""
    if not isinstance(loaded, Mapping):
        return {}
    state = dict(next((loaded[name] for name in _NESTED if isinstance(loaded.get(name), Mapping)), loaded))
    if not any(str(key).startswith(_PREFIXES) for key in state):
        return state
    # Evaluation never reads the count of batches, and old files lack it.
    expected = {name for name in names() if not name.endswith("num_batches_tracked")}
    while (inner := _without_prefix(state, expected)) is not None:
        state = inner
    return state


def _without_prefix(state: StateDict, expected: set[str]) -> StateDict | None:
    """Return what stands behind a prefix that is not of the network's own names; None where there is no such prefix."""
    for prefix in _PREFIXES:
        inner = _behind(prefix, state)
        if inner and _is_wrapped(state, prefix, inner, expected):
            return inner
    return None


def _is_wrapped(state: StateDict, prefix: str, inner: StateDict, expected: set[str]) -> bool:
    """Tell whether a prefix was put before the network's names."""
    if len(inner) == len(state):
        # A network whose own names all begin so (`self.model = ...`) keeps it.
        return not expected or not all(name.startswith(prefix) for name in expected)
    # Other things stand beside: the whole network must be behind the prefix, and not there already.
    return bool(expected) and not expected <= set(state) and _holds(inner, expected)


def _holds(state: StateDict, expected: set[str]) -> bool:
    """Tell whether a state holds the whole network, here or behind further prefixes."""
    behind = (_behind(prefix, state) for prefix in _PREFIXES)
    return expected <= set(state) or any(_holds(inner, expected) for inner in behind if inner)


def _behind(prefix: str, state: StateDict) -> StateDict:
    """Return the tensors whose names begin with a prefix, by what follows it."""
    return {key[len(prefix) :]: value for key, value in state.items() if str(key).startswith(prefix)}


def load_into(module: nn.Module, state: StateDict, head: str, where: str) -> tuple[str, ...]:
    """Load a state dict into a network, leaving its classifier out where that does not fit.

    Parameters
    ----------
    module : nn.Module
        Changed in place.
    state : dict of Tensor
        The file's tensors.
    head : str
        Dotted name of the network's classifier.
    where : str
        What to call the file in an error.

    Returns
    -------
    tuple of str
        The classifier's name, if it was left out.

    Raises
    ------
    WeightsError
        Where anything else does not fit.
    """
    own = module.state_dict()
    wrong = {k for k in own if k not in state or state[k].shape != own[k].shape}
    # Files from before PyTorch 0.4.1 do not count batches, and evaluation never reads the count.
    wrong -= {k for k in wrong if k not in state and k.endswith("num_batches_tracked")}
    left = {k for k in wrong if k.startswith(head + ".")}
    extra = set(state) - set(own)
    if wrong - left or extra:
        hint = "check --backbone and --stem" if "conv1.weight" in wrong & set(state) else "check --backbone"
        raise WeightsError(_misfit(own, state, sorted(wrong - left), sorted(extra), where), hint)
    module.load_state_dict({k: v for k, v in state.items() if k not in left}, strict=False)
    if not left:
        return ()
    module.set_submodule(head, nn.Identity())
    return (head,)


def _misfit(own: StateDict, state: StateDict, wrong: Iterable[str], extra: Collection[str], where: str) -> str:
    said = [f"{k} is {tuple(state[k].shape)}, expected {tuple(own[k].shape)}" for k in wrong if k in state]
    missing = [key for key in wrong if key not in state]
    meant = _mistyped(extra, missing)
    # Mistyped names first: they say what to mend, and each explains a missing name.
    said += [f"{key[:80]} is unknown, did you mean {name}?" for key, name in meant.items()]
    said += [f"{key} is missing" for key in missing if key not in meant.values()]
    said += [f"{key[:80]} is unknown" for key in extra if key not in meant]
    more = f" and {len(said) - 3} more" if len(said) > 3 else ""
    return f"weights file {where} is made for another network: {'; '.join(said[:3])}{more}"


def _mistyped(extra: Collection[str], missing: list[str]) -> dict[str, str]:
    """Return, for unknown names, the missing name that each is likely to mean."""
    meant: dict[str, str] = {}
    for key in list(extra)[:_LOOKED_AT]:
        free = [name for name in missing if name not in meant.values()]
        if near := difflib.get_close_matches(key, free, n=1, cutoff=0.8):
            meant[key] = near[0]
    return meant


def state_hash(module: nn.Module) -> str:
    """Return the SHA-256 over a network's parameters and buffers: names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        head = f"{len(name)}:{name}:{tensor.dtype}:{tuple(tensor.shape)}:"
        digest.update(head.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
