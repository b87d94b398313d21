"""Names of networks and of weights as packages' sources have them, against what the packages say themselves."""

from __future__ import annotations

import pytest
import torchvision

from featx.models.registered import is_defined, registered_names, weights_of


def test_names_are_those_that_torchvision_lists() -> None:
    known = torchvision.models.list_models(module=torchvision.models)
    assert list(registered_names("torchvision")) == sorted(known)
    assert all(is_defined("torchvision", name) for name in known)


def test_names_are_those_that_timm_lists() -> None:
    timm = pytest.importorskip("timm")
    assert list(registered_names("timm")) == sorted(timm.list_models())
    assert all(is_defined("timm", name) for name in timm.list_models())


@pytest.mark.parametrize("name", registered_names("torchvision"))
def test_weights_are_those_that_torchvision_lists(name: str) -> None:
    kind = torchvision.models.get_model_weights(name)
    assert weights_of("torchvision", name) == (kind.__name__, tuple(kind.__members__))


@pytest.mark.parametrize("name", ["resnet81", "", "resnet18(", "_resnet_of_nobody"])
def test_other_names_mean_nothing(name: str) -> None:
    assert not is_defined("torchvision", name)
    assert weights_of("torchvision", name) == ("", ())


def test_a_package_that_is_not_installed_has_no_networks() -> None:
    assert registered_names("nosuchpackage") == ()
    assert not is_defined("nosuchpackage", "resnet18")
