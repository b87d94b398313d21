"""Tensors in what networks return, and which of them are the logits."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from featx.errors import OptionError
from featx.graph.outputs import logits_of, tensors_in

LOGITS, STATES, HIDDEN = torch.zeros(2, 3), torch.zeros(2, 5, 4), torch.zeros(2, 4)


@dataclass
class Found:
    logits: torch.Tensor | None
    states: Any = None


Pair = namedtuple("Pair", ["logits", "aux"])


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (LOGITS, [""]),
        ((LOGITS, [STATES, None]), ["0", "1.0"]),
        ({"a": LOGITS, "b": {"c": STATES}, "d": 3}, ["a", "b.c"]),
        (Found(LOGITS, (STATES,)), ["logits", "states.0"]),
        (Found(None), []),
        (Pair(LOGITS, STATES), ["logits", "aux"]),
        ("text", []),
        (Found, []),
    ],
)
def test_tensors_have_paths(value: Any, names: list[str]) -> None:
    assert [name for name, _ in tensors_in(value)] == names


@pytest.mark.parametrize(
    "outputs",
    [
        LOGITS,
        (LOGITS, STATES),
        {"hidden": HIDDEN, "other": LOGITS},
        {"hidden": torch.ones(2, 3), "logits": LOGITS},
        {"o": {"hidden": torch.ones(2, 3), "logits": LOGITS}},
        {"o": {"logits": torch.ones(2, 3)}, "logits": LOGITS},
        Found(LOGITS, HIDDEN),
    ],
)
def test_logits_are_told(outputs: Any) -> None:
    found, *auxiliary = logits_of(outputs, 3)
    assert found is LOGITS
    assert not auxiliary


def test_auxiliary_heads_come_after_the_logits() -> None:
    assert [x.shape for x in logits_of(Pair(LOGITS, torch.ones(2, 3)), 3)] == [(2, 3), (2, 3)]


@pytest.mark.parametrize(
    "outputs",
    [
        {"a": LOGITS, "b": torch.ones(2, 3)},
        {"a": {"logits": LOGITS}, "b": {"logits": torch.ones(2, 3)}},
        {"states": STATES},
        (STATES,),
        None,
        {},
    ],
)
def test_what_cannot_be_told_is_refused(outputs: Any) -> None:
    with pytest.raises(OptionError, match=r"expected logits of shape \(images, 3\)") as caught:
        logits_of(outputs, 3)
    assert "`logits`" in caught.value.hint
