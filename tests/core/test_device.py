"""Precisions that the processor has no instructions for are told of."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch

from featx.core import device
from featx.core.device import SlowPrecisionWarning, arithmetic, has_bfloat16

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    """Forget that this process was told."""
    device._warn_of_bfloat16.cache_clear()
    yield
    device._warn_of_bfloat16.cache_clear()


def told(*precisions: str, where: torch.device = CPU) -> list[str]:
    """Compute in each precision, and return what was told."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for precision in precisions:
            with arithmetic(where, precision):
                pass
    return [str(one.message) for one in heard if one.category is SlowPrecisionWarning]


def test_bf16_without_instructions_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "has_bfloat16", lambda: False)
    (line,) = told("fp32", "bf16", "bf16")
    assert line.startswith("this CPU has no bfloat16 instructions: bf16 will be many times slower than")


def test_nothing_is_told_where_there_are_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "has_bfloat16", lambda: True)
    assert told("bf16") == []


def test_nothing_is_told_of_other_precisions_and_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "has_bfloat16", lambda: False)
    assert told("fp32", "fp16") == []
    assert told("bf16", where=torch.device("cuda")) == []


def test_a_pytorch_that_does_not_tell_is_taken_to_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "has_onednn", lambda operator: False)
    assert has_bfloat16()
