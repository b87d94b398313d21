"""Several layers as one feature: how it is written, and what it means."""

from __future__ import annotations

import pytest

from featx.core.concatenation import Concatenation, made_of, parse_feature, parts_of, parts_of_all
from featx.core.specs import LayerSpec
from featx.errors import OptionError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("layer3:avg+layer4:avg", ("layer3:avg", "layer4:avg")),
        ("layer3:avg1+fc", ("layer3:avg", "fc")),
        ("conv:flat+norm:cls+norm:avg", ("conv", "norm:cls", "norm:avg")),
        ("a+b:avg+c+d:max", ("a+b:avg", "c+d:max")),  # a plus sign may stand in a node's name
    ],
)
def test_a_plus_sign_behind_a_pooling_joins(text: str, parts: tuple[str, ...]) -> None:
    feature = parse_feature(text)
    assert isinstance(feature, Concatenation)
    assert tuple(map(str, feature.parts)) == parts
    assert parse_feature(str(feature)) == feature


@pytest.mark.parametrize("text", ["layer3:avg", "layer3", "a+b", "a+b:avg", "layer*:avg"])
def test_anything_else_is_one_layer(text: str) -> None:
    assert parse_feature(text) == LayerSpec.parse(text)
    assert parts_of(parse_feature(text)) == (LayerSpec.parse(text),)


@pytest.mark.parametrize("text", ["layer*:avg+fc", "fc:flat+fc", "fc:avg+", "all:avg+fc:flat", "+fc:avg+fc:mean"])
def test_what_cannot_be_joined_is_refused(text: str) -> None:
    with pytest.raises(OptionError):
        parse_feature(text)


def test_parts_are_named_once_those_that_stand_alone_first() -> None:
    features = [parse_feature(text) for text in ("a:avg+b:avg", "c*:avg", "b:avg")]
    assert list(map(str, parts_of_all(features))) == ["c*:avg", "b:avg", "a:avg"]
    computed = ["c1:avg", "c2:avg", "b:avg", "a:avg"]
    assert made_of(features, computed) == {
        "a:avg+b:avg": ("a:avg", "b:avg"),
        "c1:avg": ("c1:avg",),
        "c2:avg": ("c2:avg",),
        "b:avg": ("b:avg",),
    }
