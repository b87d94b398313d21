"""A folded network gives what it gave, with one operation less; what must not be folded stays."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import fx, nn

from featx.graph.fold_batch_norm import batch_bound, fold_batch_norm

pytestmark = pytest.mark.usefixtures("one_thread")


class Net(nn.Module):
    """A convolution and a norm of any kind, run as `way` says."""

    def __init__(self, conv: nn.Module | None = None, norm: nn.Module | None = None, way: str = "plain") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = conv or nn.Conv2d(3, 4, 3)
        self.norm = norm or nn.BatchNorm2d(4)
        self.way = way
        for tensor in (*self.norm.parameters(), *self.norm.buffers()):
            if tensor.is_floating_point():
                tensor.data = torch.rand_like(tensor) + 0.5

    def forward(self, x: torch.Tensor) -> Any:
        y = self.conv(x)
        if self.way == "used twice":
            return self.norm(y) + y
        if self.way == "run twice":
            return self.norm(y) + self.conv(x + 1)
        if self.way == "normed twice":
            return self.norm(self.norm(y))
        return self.norm(torch.relu(y)) if self.way == "apart" else self.norm(y)


class Leaves(fx.Tracer):
    """Looks into no module but the network itself: one of a user's own is a node like torch's."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def folded(net: nn.Module, kept: tuple[str, ...] = ()) -> tuple[fx.GraphModule, list[str]]:
    """Fold, check that what comes out is the same, and return the graph and the modules that it calls."""
    traced = fx.GraphModule(net.eval(), Leaves().trace(net))
    before = copy.deepcopy(net.state_dict())
    fold_batch_norm(traced, {node for node in traced.graph.nodes if node.name in kept})
    traced.recompile()
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(traced(x), net(x), rtol=1e-5, atol=1e-5)
    for name, value in net.state_dict().items():  # the network's own weights stay as they are
        assert torch.equal(value, before[name])
    return traced, [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_after_a_convolution_becomes_part_of_it(bias: bool, affine: bool) -> None:
    traced, calls = folded(Net(nn.Conv2d(3, 4, 3, bias=bias), nn.BatchNorm2d(4, affine=affine)))
    assert calls == ["conv"]
    assert traced.get_submodule("conv").weight.dtype == torch.float32


@pytest.mark.parametrize("way", ["used twice", "run twice", "normed twice", "apart"])
def test_what_has_another_use_stays(way: str) -> None:
    assert folded(Net(way=way))[1].count("norm") == (2 if way == "normed twice" else 1)


def test_a_convolution_whose_own_output_is_wanted_stays() -> None:
    assert folded(Net(), kept=("conv",))[1] == ["conv", "norm"]
    assert folded(Net(), kept=("norm",))[1] == ["conv"]


class Doubled(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("conv", "norm"),
    [
        (Doubled(3, 4, 3), None),  # whoever changes a convolution's arithmetic does not expect it folded
        (nn.ConvTranspose2d(3, 4, 3), None),
        (None, nn.InstanceNorm2d(4)),
        (None, nn.BatchNorm2d(4, track_running_stats=False)),
        (None, nn.GroupNorm(2, 4)),
    ],
    ids=["Doubled", "ConvTranspose2d", "InstanceNorm2d", "without statistics", "GroupNorm"],
)
def test_other_kinds_stay(conv: nn.Module | None, norm: nn.Module | None) -> None:
    assert folded(Net(conv, norm))[1][-1] == "norm"


def test_norms_of_the_batch_are_named_by_their_path() -> None:
    plain, bound = nn.BatchNorm2d(4), nn.BatchNorm1d(4, track_running_stats=False)
    net = nn.Sequential(plain, nn.Sequential(bound, nn.InstanceNorm2d(4)))
    assert batch_bound(net) == ["1.0"]
    assert batch_bound(bound) == ["BatchNorm1d"]
    assert batch_bound(plain) == []
