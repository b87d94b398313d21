"""Readouts of vision transformers: which layers they are, and what is warned of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from featx.core.concatenation import parse_feature
from featx.errors import OptionError
from featx.models.readouts import READOUTS, read_out


def test_torchvisions_blocks_are_found() -> None:
    from torchvision.models import VisionTransformer

    network = VisionTransformer(32, patch_size=8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32).eval()
    backbone: Any = SimpleNamespace(name="vit_b_16", left_out=(), module=lambda: network)
    assert str(read_out("dinov2-1", backbone).feature) == "encoder.ln:cls+encoder.ln:avg"
    found = read_out("dino-4", backbone)
    blocks = [f"encoder.layers.encoder_layer_{i}:cls" for i in range(3)]
    assert str(found.feature) == "+".join([*blocks, "encoder.ln:cls"])
    assert found.notes == []


@pytest.mark.parametrize("name", READOUTS)
def test_each_is_a_feature_that_a_record_can_name(name: str) -> None:
    feature = READOUTS[name].feature([f"blocks.{i}" for i in range(12)], "norm")
    assert parse_feature(str(feature)) == feature


def test_too_few_blocks_are_refused() -> None:
    with pytest.raises(OptionError, match="3 blocks"):
        READOUTS["dino-4"].feature(["blocks.0", "blocks.1", "blocks.2"], "norm")


def test_another_pooling_of_timm_is_warned_of() -> None:
    from timm import create_model

    from featx.models.readouts import _notes

    module = create_model("test_vit", global_pool="avg")
    (said,) = _notes("dinov2-1", "timm:test_vit", module)
    assert said.startswith("warning: ")
    assert "'avg' pooling" in said
