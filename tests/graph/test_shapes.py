"""What nodes give is found without computing anything: shapes, which dimensions are space, and multiply-adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import fx, nn

from featx.graph.shapes import measure, noise, plain_attention, reason, space_of

pytestmark = pytest.mark.usefixtures("one_thread")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.fc = nn.Linear(8, 5, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).mean((2, 3)))


class Runs(nn.Module):
    """A network of one function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def traced(function: Callable[[Any], Any]) -> fx.GraphModule:
    return fx.symbolic_trace(Runs(function))


def test_shapes_and_multiply_adds_are_those_of_the_arithmetic() -> None:
    found = measure(fx.symbolic_trace(Net()), (3, 9, 13))
    assert found.failure is None
    assert found.shapes == {"x": (3, 9, 13), "conv": (8, 4, 6), "mean": (8,), "fc": (5,), "output": (5,)}
    assert found.layouts == {"x": "NCHW", "conv": "NCHW", "mean": "NC", "fc": "NC", "output": "NC"}
    assert found.grown == {"x", "conv"}
    assert {name: cost for name, cost in found.cost.items() if cost} == {"conv": 8 * 4 * 6 * 27, "fc": 8 * 5}


def test_nothing_is_computed_and_the_network_stays_where_it_is() -> None:
    net = Net()
    module = fx.symbolic_trace(net)
    with torch.no_grad():
        net.conv.weight.fill_(torch.nan)  # noise through it would show
    before = {name: id(tensor) for name, tensor in module.state_dict(keep_vars=True).items()}
    measure(module, (3, 8, 8))
    assert {name: id(tensor) for name, tensor in module.state_dict(keep_vars=True).items()} == before
    assert net.conv.weight.device.type == "cpu"


def test_an_operation_that_asks_for_values_is_run_on_noise() -> None:
    found = measure(traced(lambda x: x[:, :, : x.shape[2]] * x.max().item()), (3, 4, 4))
    assert found.failure is None
    assert found.shapes["mul"] == (3, 4, 4)


def test_what_ran_before_a_failure_is_known_and_what_failed_is_told() -> None:
    found = measure(traced(lambda x: torch.cat([x.relu(), x[..., 1:]]).tanh()), (3, 4, 4))
    assert "relu" in found.reached
    assert not {"cat", "tanh"} & found.reached
    assert found.failure is not None
    assert reason(found.failure).startswith("Sizes of tensors must match")
    assert "\n" not in reason(found.failure)
    assert reason(ValueError()) == "ValueError"


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda x: x.relu(), set()),
        (lambda x: x.add(1).relu_(), set()),  # its result is all that is read of it
        (lambda x: (lambda y: (y.relu_(), y + 1)[1])(x.add(1)), {"relu_"}),
        (lambda x: (lambda y: (y[:, :1].zero_(), y + 1)[1])(x.add(1)), {"zero_"}),
        (lambda x: (lambda y: (y[:, :1].zero_(), x + 1)[1])(x.add(1)), set()),
    ],
    ids=["pure", "in its place", "past its result", "through a view", "read by nobody"],
)
def test_writes_that_are_read_past_their_own_result(function: Callable[[Any], Any], names: set[str]) -> None:
    assert measure(traced(function), (3, 4, 4)).effects == names


@pytest.mark.parametrize(
    ("shape", "larger", "layout", "grows"),
    [
        ((8, 4, 6), (8, 9, 11), "NCHW", True),
        ((4, 6, 8), (9, 11, 8), "NHWC", True),
        ((8, 1, 1), (8, 1, 1), "NCHW", False),
        ((4, 6, 8), (4, 6, 9), "?", True),
        ((16, 8), (40, 8), "NLC", True),
        ((8, 16), (8, 40), "NCL", True),
        ((8,), (8,), "NC", False),
        ((8,), (9,), "NC", True),
        ((2, 3, 4, 5), (2, 3, 4, 5), "?", False),
        ((8, 4, 4), None, "NCHW", False),
        ((4, 4, 8), None, "NHWC", False),
    ],
)
def test_dimensions_that_grow_with_the_image_are_space(
    shape: tuple[int, ...], larger: tuple[int, ...] | None, layout: str, grows: bool
) -> None:
    assert space_of(shape, larger, square=True) == (layout, grows)


def test_noise_is_the_same_each_time_and_two_images() -> None:
    one, same = (noise((3, 4, 4), torch.device("cpu")) for _ in range(2))
    assert torch.equal(one, same)
    assert not torch.equal(one[0], one[1])
    assert noise((3, 4, 4), torch.device("meta")).shape == one.shape


@pytest.mark.parametrize("enabled", [True, False])
def test_the_attention_kernel_is_given_back_as_it_was(enabled: bool) -> None:
    before = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(enabled)
        with plain_attention():
            assert not torch.backends.mha.get_fastpath_enabled()
        assert torch.backends.mha.get_fastpath_enabled() is enabled
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
