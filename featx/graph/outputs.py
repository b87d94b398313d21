"""What networks return: a tensor, or tensors in tuples, dictionaries and dataclasses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch

from featx.errors import OptionError

LOGITS = "logits"
"""What a network that returns several values by name calls those that count for training."""


def tensors_in(value: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Give each tensor in a value with its path: keys, names of fields and places, dots between them."""
    if isinstance(value, torch.Tensor):
        yield path, value
        return
    for key, inner in _items(value):
        yield from tensors_in(inner, f"{path}.{key}" if path else str(key))


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name, None)) for field in fields(value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    return list(enumerate(value)) if isinstance(value, (tuple, list)) else []


def logits_of(outputs: Any, n_classes: int) -> Sequence[torch.Tensor]:
    """Return a network's logits (n, n_classes), and after them those of auxiliary heads, where it returns some.

    Parameters
    ----------
    outputs : object
        A tensor; a tuple, which begins with the logits; or values by name, of which ``logits``, at any depth, are the
        logits, else the only ones of that shape.

    Raises
    ------
    OptionError
        There are none, or it cannot be told which they are.
    """
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    named = dict(tensors_in(outputs))
    fitting = [name for name, x in named.items() if x.ndim == 2 and x.shape[1] == n_classes]
    if isinstance(outputs, tuple) and fitting:
        return [named[name] for name in fitting]
    name = logits_by_name(fitting) or (fitting[0] if len(fitting) == 1 else "")
    if name:
        return [named[name]]
    said = ", ".join(f"{name} {tuple(x.shape)}" for name, x in list(named.items())[:5]) or type(outputs).__name__
    raise OptionError(
        f"the network returns {said}, expected logits of shape (images, {n_classes})",
        "let it return the logits alone, or a dictionary with `logits`",
    )


def logits_by_name(names: Sequence[str]) -> str:
    """Return which of some names, from `tensors_in`, says that it is the logits; empty where none or several do."""
    if LOGITS in names:
        return LOGITS
    inner = [name for name in names if name.rpartition(".")[2] == LOGITS]
    return inner[0] if len(inner) == 1 else ""
