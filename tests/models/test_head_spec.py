"""Heads as they are written: one spelling each, and anything else refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.errors import OptionError
from featx.models.head_spec import HeadSpec

WIDTHS = st.lists(st.integers(1, 65536), min_size=1, max_size=HeadSpec.MOST_LAYERS).map(tuple)
MLPS = st.builds(HeadSpec, st.booleans(), WIDTHS, st.floats(0, 0.999))
LINEARS = st.builds(HeadSpec, st.booleans())


@given(MLPS | LINEARS)
def test_parse_is_the_inverse_of_str(spec: HeadSpec) -> None:
    assert HeadSpec.parse(str(spec)) == spec


@given(
    st.text(max_size=20) | st.from_regex(r"(flat-)?(mlp|linear):?[0-9,]{0,8}(:dropout=[0-9.]{0,4})?", fullmatch=True)
)
def test_any_text_is_refused_or_has_one_spelling(text: str) -> None:
    spec = None
    with suppress(OptionError):
        spec = HeadSpec.parse(text)
    assert spec is None or HeadSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("linear", HeadSpec()),
        ("flat-linear", HeadSpec(flat=True)),
        ("flat-mlp:512", HeadSpec(flat=True, widths=(512,))),
        ("mlp:256,128", HeadSpec(widths=(256, 128))),
        ("flat-mlp:256,128:dropout=0.5", HeadSpec(flat=True, widths=(256, 128), dropout=0.5)),
    ],
)
def test_heads_of_the_experiments(text: str, spec: HeadSpec) -> None:
    assert HeadSpec.parse(text) == spec
    assert str(spec) == text


def test_other_spellings_become_one() -> None:
    assert str(HeadSpec.parse("mlp:064:dropout=.50")) == "mlp:64:dropout=0.5"
    assert str(HeadSpec.parse("mlp:64:dropout=0")) == "mlp:64"


@pytest.mark.parametrize(
    "text",
    [
        *("", "mlp", "mlp:", "mlp:0", "mlp:-1", "mlp:1.5", "mlp:65537", "mlp:1,,2", "mlp:1,", "linear:3", "Linear"),
        *(
            "linear:dropout=0.5",
            "mlp:3:dropout=1",
            "mlp:3:dropout=-0.1",
            "mlp:3:dropout=",
            "mlp:3:0.5",
            "flat",
            "linear ",
        ),
        *("mlp:" + ",".join(["8"] * 9), "mlp:٣", "mlp:3:dropout=nan", "linear\n"),
    ],
)
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="head"):
        HeadSpec.parse(text)
