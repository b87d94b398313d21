"""Errors say what was found and what to do, in one line."""

from __future__ import annotations

import inspect
import pickle

import pytest

from featx import errors
from featx.errors import FeatxError, FeatxWarning, OptionError, suggest

RAISED = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
KINDS = [kind for kind in RAISED if issubclass(kind, FeatxError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_says_its_message_and_then_its_hint(kind: type[FeatxError]) -> None:
    error = kind("found 3, expected 4", "give four")
    assert (error.message, error.hint) == ("found 3, expected 4", "give four")
    assert str(error) == "found 3, expected 4 (give four)"
    assert str(kind("found 3")) == "found 3"


def test_one_except_clause_catches_every_error_and_no_warning_is_one() -> None:
    assert [kind for kind in RAISED if kind not in KINDS] == [FeatxWarning]
    assert issubclass(FeatxWarning, UserWarning)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_survive_the_way_between_processes(kind: type[FeatxError]) -> None:
    again = pickle.loads(pickle.dumps(kind("m", "h")))
    assert type(again) is kind
    assert (again.message, again.hint, str(again)) == ("m", "h", "m (h)")


def test_a_bad_option_is_also_a_value_error() -> None:
    # scikit-learn's own checks expect ValueError.
    assert issubclass(OptionError, ValueError)


def test_corruption_and_a_full_disk_are_store_errors_and_a_bad_image_is_a_source_error() -> None:
    assert issubclass(errors.CorruptStoreError, errors.StoreError)
    assert issubclass(errors.DiskFullError, errors.StoreError)
    assert issubclass(errors.ImageError, errors.SourceError)


def test_nearest_names_what_was_probably_meant_first() -> None:
    assert suggest("resnet81", ["lenet5", "vgg11", "resnet18"]).startswith("did you mean resnet18")


def test_nearest_is_silent_where_nothing_is_near() -> None:
    assert suggest("zzz", ["resnet18", "vgg11"]) == ""
    assert suggest("x", []) == ""


def test_nearest_names_three_at_most() -> None:
    assert suggest("layer", [f"layer{i}" for i in range(9)]).count("layer") == 3
