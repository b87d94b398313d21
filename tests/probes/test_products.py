"""Products of rows with few weights: the same numbers whoever multiplies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from featx.probes.products import ALONE_COLUMNS, GRAM_ROWS, Gram, sum_of_rows, times_rows


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def close(found: Tensor, left: Tensor, right: Tensor) -> bool:
    """Whether a product is right to the rounding of its own type."""
    most = 4 * torch.finfo(found.dtype).eps * (left.double().abs() @ right.double().abs())
    return bool(((found.double() - left.double() @ right.double()).abs() <= most).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("k", "n", "p"), [(10, 100, 64), (1, 7, 3), (3, 1, 1), (20, 200, 513)])
def test_products_are_right_to_rounding(k: int, n: int, p: int, dtype: torch.dtype) -> None:
    weights, block, factors = drawn(k, p, dtype=dtype), drawn(n, p, dtype=dtype), drawn(k, n, dtype=dtype)
    assert close(times_rows(weights, block), weights, block.T)
    assert close(sum_of_rows(factors, block), factors, block)


def test_rows_that_do_not_lie_in_one_piece() -> None:
    padded, turned, weights, factors = drawn(5000, 32), drawn(20, 5000), drawn(4, 20), drawn(4, 5000)
    for block in (padded[:, :20], turned.T, padded[:, 12:]):
        assert close(times_rows(weights, block), weights, block.T)
        assert close(sum_of_rows(factors, block), factors, block)
    assert close(times_rows(drawn(20, 4).T, padded[:, :20].contiguous()), drawn(20, 4).T, padded[:, :20].T)


@pytest.mark.parametrize("columns", [6, ALONE_COLUMNS + 1])
@pytest.mark.parametrize("sizes", [[5, 3], [GRAM_ROWS + 1, 2], [1000] * 5])
def test_a_gram_matrix_counts_every_row_once(sizes: list[int], columns: int) -> None:
    rows, gram = drawn(sum(sizes), columns, dtype=torch.float64), Gram(columns, torch.device("cpu"))
    for block in rows.split(sizes):
        gram.add(gram.part(block))
    torch.testing.assert_close(gram.result(), rows.T @ rows)
