"""Pooling against plain numpy, for each layout, and the poolings that a layout refuses."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from featx.core.specs import LayerSpec
from featx.errors import OptionError
from featx.graph.pooling import CACHED_BYTES, columns, pool

# One image's activation: its layout, and the axes of the batch that are space.
SHAPES = {
    "NCHW": ((5, 6, 4), (2, 3)),
    "NHWC": ((6, 4, 5), (1, 2)),
    "NLC": ((7, 5), (1,)),
    "NCL": ((5, 7), (2,)),
    "NC": ((5,), ()),
}
POOLS = {
    "NCHW": ("flat", "avg", "max", "avg2", "avg3"),
    "NHWC": ("flat", "avg", "max", "avg2", "avg3"),
    "NLC": ("flat", "avg", "max", "cls"),
    "NCL": ("flat", "avg", "max"),
    "NC": ("flat", "avg", "max"),
    "?": ("flat",),
}
CASES = [(layout, how) for layout in SHAPES for how in POOLS[layout]]


def by_hand(x: npt.NDArray[np.float32], how: str, layout: str) -> npt.NDArray[np.float64]:
    """What the pooling means, in numpy."""
    values = x.astype(np.float64)
    space = SHAPES[layout][1]
    if how == "flat" or not space:
        return values.reshape(len(x), -1)
    if how == "cls":
        return values[:, 0]
    if how in ("avg", "max"):
        return values.mean(space) if how == "avg" else values.max(space)
    grid = int(how[3:])
    values = values if layout == "NCHW" else np.moveaxis(values, -1, 1)
    rows, cols = values.shape[2:]
    cells = [
        values[:, :, i * rows // grid : -(-(i + 1) * rows // grid), j * cols // grid : -(-(j + 1) * cols // grid)]
        for i in range(grid)
        for j in range(grid)
    ]
    return np.stack([cell.mean((2, 3)) for cell in cells], axis=2).reshape(len(x), -1)


@pytest.mark.parametrize(("layout", "how"), CASES)
def test_pooling_is_what_numpy_says(layout: str, how: str) -> None:
    shape = SHAPES[layout][0]
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    spec = LayerSpec("node", how)
    rows = pool(torch.from_numpy(x), spec.pool, spec.grid, layout)
    assert rows.dtype == torch.float32
    np.testing.assert_allclose(rows.numpy(), by_hand(x, how, layout), rtol=1e-5, atol=1e-6)
    assert columns(spec, shape, layout, class_token=True) == rows.shape[1]


@pytest.mark.parametrize(
    ("layout", "how", "ones"),
    [(*case, False) for case in CASES] + [(*case, True) for case in CASES if case[1] not in ("avg2", "avg3")],
)
def test_rows_have_memory_of_their_own(layout: str, how: str, ones: bool) -> None:
    shape = SHAPES[layout][0]
    # An axis of one value is where a reduction could hand back a view of its input.
    x = torch.randn(3, *(tuple(n if n == 5 else 1 for n in shape) if ones else shape))
    spec = LayerSpec("node", how)
    rows = pool(x, spec.pool, spec.grid, layout)
    before = rows.clone()
    x.relu_().add_(100)
    assert torch.equal(rows, before)


def test_grid_as_large_as_the_space_is_a_copy() -> None:
    x = torch.randn(2, 3, 2, 2)
    rows = pool(x, "avg2", 2, "NCHW")
    assert torch.equal(rows, x.flatten(1))
    x.zero_()
    assert rows.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["flat", "avg", "avg2", "max"])
def test_rows_are_float32_whatever_the_arithmetic(dtype: torch.dtype, how: str) -> None:
    x = torch.full((1, 1, 64, 64), 0.1, dtype=dtype)
    spec = LayerSpec("node", how)
    rows = pool(x, spec.pool, spec.grid, "NCHW")
    assert rows.dtype == torch.float32
    # Summed in float32: 4,096 values of 0.1 lose nothing more than their own rounding.
    assert torch.allclose(rows, torch.tensor(float(x[0, 0, 0, 0])), rtol=1e-5)


def refused(how: str, shape: tuple[int, ...], layout: str, class_token: bool = False) -> str:
    with pytest.raises(OptionError) as caught:
        columns(LayerSpec("block", how), shape, layout, class_token=class_token)
    assert "block" in caught.value.message
    assert " x ".join(map(str, shape)) in caught.value.message
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("layout", "shape"), [("NCHW", (8, 4, 4)), ("NHWC", (4, 4, 8)), ("NC", (8,)), ("NLC", (49, 8))]
)
def test_cls_needs_a_class_token(layout: str, shape: tuple[int, ...]) -> None:
    assert "class token" in refused("cls", shape, layout)


def test_cls_gives_one_value_a_channel() -> None:
    assert columns(LayerSpec("block", "cls"), (197, 768), "NLC", class_token=True) == 768


def test_class_token_does_not_help_a_convolution() -> None:
    assert "use block:avg" in refused("cls", (8, 4, 4), "NCHW", class_token=True)


@pytest.mark.parametrize(
    ("layout", "shape"), [("NCHW", (8, 1, 4)), ("NHWC", (4, 1, 8)), ("NLC", (9, 8)), ("NCL", (8, 9)), ("NC", (8,))]
)
def test_grid_needs_as_many_pixels(layout: str, shape: tuple[int, ...]) -> None:
    assert "at least 2 x 2" in refused("avg2", shape, layout)


@pytest.mark.parametrize("how", ["avg", "max"])
def test_unknown_layout_is_not_pooled_by_a_guess(how: str) -> None:
    assert "use :flat" in refused(how, (2, 3, 4, 5), "?")
    assert columns(LayerSpec("block"), (2, 3, 4, 5), "?", class_token=False) == math.prod((2, 3, 4, 5))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_means_are_the_same_a_few_images_at_a_time(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 64, 32, 32).to(dtype).contiguous(memory_format=torch.channels_last)
    assert 4 * x.numel() > CACHED_BYTES
    assert torch.equal(pool(x, "avg", 1, "NCHW"), x.mean((2, 3), dtype=torch.float32))
