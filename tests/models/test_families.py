"""Which family a backbone's name belongs to, what a name needs, and names that no network has."""

from __future__ import annotations

import pytest
from heavy import loaded_after

from featx.errors import OptionError
from featx.models.built_in_families import LeNet5Family, PixelsFamily
from featx.models.factory_family import FactoryFamily
from featx.models.families import FAMILIES, check_known, family_of, plain_names, prefixes, versions
from featx.models.timm_family import TimmFamily
from featx.models.torchvision_family import TorchvisionFamily


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("pixels", PixelsFamily),
        ("lenet5", LeNet5Family),
        ("timm:resnet18", TimmFamily),
        ("timm:resnet18.a1_in1k", TimmFamily),
        ("timm:", TimmFamily),
        ("resnet18", TorchvisionFamily),
        ("timm", TorchvisionFamily),
        ("nosuch", TorchvisionFamily),
        ("", TorchvisionFamily),
        ("networks.py:make", FactoryFamily),
        ("timm.models:resnet18", FactoryFamily),
        ("lenet5:make", FactoryFamily),
        (":", FactoryFamily),
    ],
)
def test_every_name_has_its_family(name: str, family: type) -> None:
    assert type(family_of(name)) is family


def test_features_of_a_users_own_code_alone_are_kept_by_code() -> None:
    assert [key for key, family in FAMILIES.items() if family.is_users_code] == [":"]


def test_versions_are_those_that_features_depend_on() -> None:
    assert set(versions("resnet18")) == set(versions("networks.py:make")) == {"featx", "torch", "torchvision"}


def test_plain_names_are_all_networks_without_a_prefix() -> None:
    known = plain_names()
    assert known == sorted(known)
    assert {"lenet5", "pixels", "resnet18"} <= set(known)
    assert not [name for name in known if ":" in name or not name]
    assert prefixes() == ["timm:"]


@pytest.mark.parametrize(("typed", "meant"), [("resnet81", "resnet18"), ("vgg_16", "vgg16"), ("lenet", "lenet5")])
def test_mistyped_name_is_told_the_right_one(typed: str, meant: str) -> None:
    with pytest.raises(OptionError, match=typed) as caught:
        check_known(typed)
    assert meant in caught.value.hint
    check_known(meant)


def test_names_are_told_apart_without_anything_heavy() -> None:
    code = "from featx.models.families import *\n"
    code += "check_stem('resnet18', 'cifar')\n"
    code += "for name in ('resnet18', 'timm:resnet18', 'net.py:make', 'lenet5', 'pixels'):\n"
    code += "    family = family_of(name); family.channels(1); family.can_remember('DEFAULT'); family.takes_stem(name)"
    assert not loaded_after(code) & {"torch", "torchvision", "timm", "safetensors"}
