"""Products of many rows with a few weights each, by the library that multiplies such shapes fastest.

oneDNN takes a third of the time that torch's own choice, MKL, takes for ten rows of weights, in the same float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from featx.core.device import has_onednn

LEAST_VALUES = 2**16
"""Smaller blocks are not worth oneDNN's preparations."""

GRAM_ROWS = 4096
"""Rows of one product of a `Gram` of many columns, at least."""

ALONE_COLUMNS = 1025
"""Up to so many columns, the intercept's among them, one thread computes with a matrix of them."""


HAS_ONEDNN = has_onednn("_linear_pointwise")


def _suits(left: Tensor, block: Tensor) -> bool:
    """Whether oneDNN may multiply: it knows float32, and would copy what does not lie in one piece."""
    is_plain = block.is_contiguous() and left.is_contiguous() and left.dtype == block.dtype == torch.float32
    return HAS_ONEDNN and is_plain and block.device.type == "cpu" and block.numel() >= LEAST_VALUES


def times_rows(weights: Tensor, block: Tensor, offset: Tensor | None = None) -> Tensor:
    """Return ``weights block^T`` (k, n), and an offset (k, 1), for weights (k, p) and a block of rows (n, p)."""
    if _suits(weights, block):
        found = _linear(weights, block)
        return found if offset is None else found.add_(offset)
    return weights @ block.T if offset is None else torch.addmm(offset, weights, block.T)


def sum_of_rows(factors: Tensor, block: Tensor) -> Tensor:
    """Return ``factors block`` (k, p), the sum of the rows (n, p), each times its factors (k, n)."""
    if _suits(factors, block):
        return _linear(factors, block.T)
    return factors @ block


class Gram:
    """Sums up ``rows^T rows`` (p, p) in float64: of few columns block by block, by whoever has the block.

    Of more, many rows at once: numpy computes one half and mirrors that.
    """

    def __init__(self, p: int, device: torch.device) -> None:
        self._total = torch.zeros(p, p, dtype=torch.float64, device=device)
        self._held: list[Tensor] = []
        self._is_small = p <= ALONE_COLUMNS

    def part(self, rows: Tensor) -> Tensor:
        """Return of rows (n, p) what `add` takes; they may be overwritten only where the columns are few."""
        return rows.T @ rows if self._is_small else rows

    def add(self, part: Tensor) -> None:
        """Take a part."""
        if self._is_small:
            self._total += part
            return
        self._held.append(part)
        if sum(map(len, self._held)) >= GRAM_ROWS:
            self._multiply()

    def result(self) -> Tensor:
        """Return the sum."""
        if self._held:
            self._multiply()
        return self._total

    def _multiply(self) -> None:
        rows = torch.cat(self._held) if len(self._held) > 1 else self._held[0]
        self._held = []
        if rows.device.type == "cpu":
            held = rows.numpy()
            self._total += torch.from_numpy(held.T @ held)
        else:
            self._total += rows.T @ rows


def _linear(rows: Tensor, weight: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")
    return found
