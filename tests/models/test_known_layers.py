"""Layers are remembered by network, and only what is surely none of them is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from featx.cache.memo import Memo
from featx.core.specs import LayerSpec
from featx.errors import OptionError
from featx.models.facts import AS_IT_IS, NetworkFacts
from featx.models.known_layers import check_layers, remember_layers

NETWORK = NetworkFacts("resnet18", "net.pth", "0" * 64, AS_IT_IS, left_out=("fc",))


@pytest.fixture
def memo(tmp_path: Path) -> Memo:
    """A memo that knows two layers of the network."""
    memo = Memo(tmp_path)
    remember_layers(NETWORK, ["layer1", "layer1.0"], memo)
    return memo


@pytest.mark.parametrize("layer", ["layer1:avg", "layer1.0", "layer9*", "all", "fc", "fc.0"])
def test_layers_that_may_be_there_pass(memo: Memo, layer: str) -> None:
    check_layers(NETWORK, [LayerSpec.parse(layer)], memo)


def test_a_layer_that_is_not_there_is_told_the_nearest(memo: Memo) -> None:
    with pytest.raises(OptionError, match="no layer 'layre1'") as caught:
        check_layers(NETWORK, [LayerSpec.parse("layer1"), LayerSpec.parse("layre1:avg")], memo)
    assert "layer1" in caught.value.hint


@pytest.mark.parametrize("other", [{"name": "resnet34"}, {"left_out": ()}, {"options": {"stem": "cifar"}}], ids=str)
def test_nothing_is_known_of_another_network(memo: Memo, other: dict[str, object]) -> None:
    check_layers(replace(NETWORK, **other), [LayerSpec.parse("layre1")], memo)  # type: ignore[arg-type]
