"""One run of a network watched by hooks: what each module gives and is given, in which order; hooks never stay."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from featx.core.rng import isolated_rng
from featx.graph.outputs import tensors_in
from featx.graph.shapes import plain_attention, storage_of

INPUT = "input"
"""Last part of the name of what a module is given, where no module gives it."""

OUTPUT = "output"
"""Name of what the network returns."""

_TOKENS = ("class_token", "cls_token")
_KEY = re.compile(r"[A-Za-z0-9_.]+")

Hook = Callable[..., None]


@dataclass(frozen=True)
class Read:
    """Where a value is found.

    Parameters
    ----------
    path : str
        The module that gives it, or is given it; empty for the network.
    key : str
        Which of several values, as `featx.graph.outputs.tensors_in` names them; empty for the first.
    given : bool
        Whether the module is given it.
    """

    path: str
    key: str = ""
    given: bool = False

    def of(self, value: Any) -> torch.Tensor | None:
        """Return the tensor that is meant of what a module gave or was given."""
        for key, tensor in tensors_in(value):
            if (not self.key or key == self.key) and tensor.is_floating_point() and tensor.ndim > 1:
                return tensor
        return None


@dataclass
class Seen:
    """A value that was seen, of two images.

    Parameters
    ----------
    tensor, version : Tensor, int
        It, for as long as the run lasts, and how often it had been written to.
    macs, at : int
        Multiply-adds of one image until then, and the event.
    """

    read: Read
    tensor: torch.Tensor | None
    version: int
    macs: int
    at: int
    shape: tuple[int, ...]
    token: bool

    def is_still(self, x: torch.Tensor) -> bool:
        """Tell whether a tensor is this value, reshaped or not, and nobody wrote into it."""
        old = self.tensor
        if old is None or self.version != _version(old) or storage_of(old) != storage_of(x):
            return False
        return old.numel() == x.numel() and int(old.storage_offset()) == int(x.storage_offset())


@dataclass
class Record:
    """What a run of two images showed.

    Parameters
    ----------
    seen : dict
        Values by name, in the order in which they were there, the last of a module that runs several times.
    given : dict
        By module: the name of the value that it was given first, of modules without inner ones.
    began, ended : dict
        By module: when it ran, in events.
    used : dict
        By parameter: when it was first and last used.
    returned : set of str
        Names of the values that the network gave.
    failure : Exception or None
        What ended the run.
    """

    counter: FlopCounterMode
    seen: dict[str, Seen] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)
    began: dict[str, list[int]] = field(default_factory=dict)
    ended: dict[str, list[int]] = field(default_factory=dict)
    used: dict[str, list[int]] = field(default_factory=dict)
    returned: set[str] = field(default_factory=set)
    failure: Exception | None = None
    now: int = 0

    def name_of(self, x: torch.Tensor) -> str:
        """Return the name of the first value that a tensor still is, reshaped or not; empty where there is none."""
        return next((name for name, old in self.seen.items() if old.is_still(x)), "")

    def keep(self, name: str, read: Read, x: torch.Tensor) -> None:
        """Note a value that has a row an image."""
        if len(x) == 2 and x.is_floating_point() and x.ndim > 1 and _KEY.fullmatch(name):
            self.seen.pop(name, None)
            macs = self.counter.get_total_flops() // 4  # 2 operations a multiply-add, 2 images
            shape = tuple(x.shape[1:])
            self.seen[name] = Seen(read, x, _version(x), macs, self.now, shape, x.requires_grad)


def watch(module: nn.Module, images: torch.Tensor) -> Record:
    """Run a network in eval mode on two images and return what is to be seen; nothing of it is changed.

    Parameters
    ----------
    module : nn.Module
        On the images' device.
    images : Tensor, shape (2, C, H, W)
        What it is given.
    """
    record = Record(FlopCounterMode(display=False))
    with (
        contextlib.redirect_stdout(sys.stderr),  # what a user's code prints is no result
        hooked(module, partial(_began, record, images), partial(_ended, record)),
        isolated_rng(0),
        record.counter,
        plain_attention(),
        _tokens_followed(module),
        _Uses(module, record),
    ):
        try:
            module(images)
        # Any code may run here: a size that does not fit shows in any way.
        except Exception as exc:
            record.failure = exc
    for value in record.seen.values():
        value.tensor = None
    return record


@contextlib.contextmanager
def hooked(module: nn.Module, before: Hook | None, after: Hook | None, paths: set[str] | None = None) -> Iterator[None]:
    """Call ``before(path, module, args, kwargs)`` and ``after(path, module, args, kwargs, output)`` within the block.

    Parameters
    ----------
    paths : set of str, optional
        Of these modules only; the empty one is the network.
    """
    with contextlib.ExitStack() as stack:
        for path, child in module.named_modules():
            if paths is None or path in paths:
                if before is not None:
                    handle = child.register_forward_pre_hook(partial(before, path), with_kwargs=True)
                    stack.callback(handle.remove)
                if after is not None:
                    handle = child.register_forward_hook(partial(after, path), with_kwargs=True)
                    stack.callback(handle.remove)
        yield


def _began(record: Record, images: torch.Tensor, path: str, module: nn.Module, args: Any, kwargs: Any) -> None:
    record.now += 1
    record.began.setdefault(path, []).append(record.now)
    if path and next(module.children(), None) is None:
        read = Read(path, given=True)
        x = read.of((args, kwargs))
        if x is None or storage_of(x) == storage_of(images):
            return
        name = record.name_of(x)
        if not name:
            name = f"{path}.{INPUT}"
            record.keep(name, read, x)
        record.given.setdefault(path, name)


def _ended(record: Record, path: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
    record.now += 1
    record.ended.setdefault(path, []).append(record.now)
    found = [(key, x) for key, x in tensors_in(output) if x.is_floating_point() and x.ndim > 1]
    name = path or OUTPUT
    if not path and OUTPUT in record.began:  # a module's own name
        return
    if found and (path or not record.name_of(found[0][1])):
        record.keep(name, Read(path), found[0][1])
    if not path:
        record.returned = {name for _, x in found for name, old in record.seen.items() if old.is_still(x)}
    for key, x in found if len(found) > 1 else []:
        record.keep(f"{name}.{key}", Read(path, key), x)


def _version(x: torch.Tensor) -> int:
    return 0 if x.is_inference() else x._version


@contextlib.contextmanager
def _tokens_followed(module: nn.Module) -> Iterator[None]:
    """Let gradients, which nobody takes, tell what a class token went into."""
    flags = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    try:
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name.rpartition(".")[2] in _TOKENS)
        with torch.enable_grad():
            yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


class _Uses(TorchFunctionMode):  # type: ignore[misc,unused-ignore]
    """Notes when each parameter is used by an operation that gives a tensor."""

    def __init__(self, module: nn.Module, record: Record) -> None:
        super().__init__()
        self._names = {id(parameter): name for name, parameter in module.named_parameters()}
        self._record = record

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, (torch.Tensor, tuple, list)) and getattr(func, "__name__", "") != "__get__":
            for _, x in tensors_in((args, kwargs or {})):
                if name := self._names.get(id(x)):
                    self._record.used.setdefault(name, []).append(self._record.now)
        return result
