"""A recipe's file: what is wrong in it is refused, with its place; whatever it holds, nothing else is raised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.errors import FeatxError, OptionError
from featx.recipes.expand import MAX_ROWS, Recipe, expand
from featx.recipes.experiment import Experiment
from featx.recipes.fields import HINTS
from featx.recipes.overrides import parse_override, parse_overrides
from featx.recipes.recipe import MAX_BYTES, parse, read_file

HEAD = '[recipe]\nname = "x"\n[defaults]\nsource = "digits"\nbackbone = "lenet5"\n'


def recipe(text: str, *changes: str) -> Recipe:
    """Read a recipe with the head above."""
    return expand(parse(HEAD + text, "x.toml", parse_overrides(changes)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[row]]\nlayers = ["pool2"]', "row 1 has no key 'layers'"),
        ('[[row]]\nname = "a"\nlayer = "pool2"\nepochs = 3', "row 1 ('a'): epochs has no use in a fit"),
        ('[[row]]\nmode = "scratch"\nlayer = "pool2"', "row 1: layer has no use in a training"),
        ("[[row]]\nlayer = 'pool2'\nbackbone = []", "row 1: backbone is an empty list"),
        ("[[row]]\nlayer = 'pool2'\nmode = []", "row 1: mode is an empty list"),
        ("[[row]]\nlayer = 'pool2'\nmode = [['fit']]", "row 1: mode is ['fit'], expected one of fit"),
        ("[[row]]\nlayer = 'pool2'\nper-class = 3\nper_class = 4", "row 1 has per_class twice"),
        ("[[row]]\nlayer = 'pool2'\nname = '" + "n" * 300 + "'", "name has 300 characters"),
        ("[[row]]\nlayer = 'pool2'\nC = 1" + "0" * 400, "row 1: C is a int, expected a number"),
        ("[[row]]\nlayer = 'pool2'\nC = 1" + "0" * 5000, "recipe x.toml is not TOML"),
        ('[[row]]\nmode = "finetuned"', "row 1: mode is 'finetuned', expected one of fit, scratch, frozen, finetune"),
        ('[[row]]\nmode = "scratch"\nepochs = "3"', "row 1: epochs is '3', expected a whole number"),
        ('[[row]]\nmode = "scratch"\nepochs = true', "row 1: epochs is True, expected a whole number"),
        ('[[row]]\nmode = "scratch"\nepochs = 0', "row 1: epochs is 0, expected a whole number of at least 1"),
        ('[[row]]\nlayer = "pool2"\nhead = "sofmax"', "row 1: head is 'sofmax', expected one of softmax, knn"),
        ('[[row]]\nlayer = "pool2"\nsweep = "clip"\nC = 2.0', "row 1: C would have no effect with head softmax, sweep"),
        ('[[row]]\nlayer = "pool2"\nmean = "0.5"', "row 1: mean is '0.5', expected a list, each a number"),
        ("[[row]]\nlayer = {a = 1}", "row 1: layer is a dict, expected text in quotes"),
        ("[[row]]\nlayer = []", "row 1: layer is an empty list"),
        ('[[row]]\nlayer = "pool2"\nbest_of = ["pool1"]', "row 1 has both layer and best_of"),
        ("[[row]]\nC = 2.0", "row 1 has no layer"),
        ('[[row]]\nbackbone = "pixels"\nlayer = "pool2"', "row 1: layer has no use on raw pixels"),
        ('[[row]]\nlayer = "pool2"\nseeds = [0, 0]', "row 1: seeds are [0, 0], expected each once"),
        ('[[row]]\nname = "{sise}"\nlayer = "pool2"', "row 1 ('{sise}'): its name has {sise}"),
        ('[[row]]\nname = "a"\nlayer = "pool1"\n[[row]]\nname = "a"\nlayer = "pool2"', "has two rows called 'a'"),
        ('[[row]]\nname = "a"\nbackbone = "row:b"\nlayer = "pool2"', "row 'a' stands on row:b, which no training is"),
        ('[[row]]\nname = "a"\nbackbone = "row:a"\nmode = "finetune"', "rows stand on each other: a -> a"),
        ("", "has no rows, expected [[row]]"),
        ("[row]\nlayer = 1", "has no rows, expected [[row]]"),
        ("[[rows]]\nlayer = 1", "recipe x.toml has no key 'rows'"),
        ("[fit]\nmode = 'fit'\n[[row]]\nlayer = 'pool2'", "[fit] has no key 'mode'"),
        ("[train]\nC = 1\n[[row]]\nlayer = 'pool2'", "[train] has no key 'C'"),
        ("fit = 3\n[[row]]\nlayer = 'pool2'", "[defaults] has no key 'fit'"),
        ("[[row]]\nlayer = ", "recipe x.toml is not TOML"),
        (
            "[[row]]\nC = [" + ", ".join(f"{i}.5" for i in range(MAX_ROWS + 1)) + "]\nlayer = 'a'",
            "more than 1,000 rows",
        ),
    ],
)
def test_what_is_wrong_is_refused_and_its_place_named(text: str, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        recipe(text)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("[recipe]\nname = '../x'", "name is '../x'"),
        ("[recipe]\nname = 'X'", "name is 'X'"),
        ("[recipe]\ntitle = 'no name'", "name is ''"),
        ("[recipe]\nname = 'x'\ntitle = '" + "y" * 300 + "'", "title has 300 characters"),
        ("[recipe]\nname = 'x'\ndraw = ['curve']", "[recipe]: draw has no key 'curve'"),
        ("[recipe]\nname = 'x'\ndescription = 'y'", "[recipe] has no key 'description'"),
        ("recipe = 'x'", "recipe is a str, expected a table"),
    ],
)
def test_the_head_names_files_and_is_checked(head: str, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse(f"{head}\n[[row]]\nlayer = 'pool2'", "x.toml")
    assert said in caught.value.message


def test_a_mistyped_key_has_the_nearest_suggested() -> None:
    with pytest.raises(OptionError, match="did you mean layer"):
        recipe("[[row]]\nlayr = 'pool2'")


def test_a_recipe_without_a_source_says_what_it_needs() -> None:
    text = "[recipe]\nname = 'x'\nneeds = 'photos'\n[[row]]\nbackbone = 'pixels'"
    with pytest.raises(OptionError) as caught:
        expand(parse(text, "x.toml"))
    assert "needs photos" in caught.value.message
    assert "`featx run x --set source=" in caught.value.hint


def test_names_of_strangers_are_spelled_out() -> None:
    with pytest.raises(OptionError) as caught:
        recipe("[[row]]\nname = 'a\\u001b[31m\u202eb'\nlayer = 1")
    assert "\x1b" not in caught.value.message
    assert "\u202e" not in caught.value.message


def test_a_file_that_begins_with_a_mark_and_a_name_with_spaces_around_are_read(tmp_path: Path) -> None:
    path = tmp_path / "windows.toml"
    path.write_text(HEAD + "[[row]]\nname = ' a  b '\nlayer = 'pool2'", "utf-8-sig")
    assert [e.name for e in expand(parse(read_file(path), "windows.toml")).experiments] == ["a b"]


def test_files_too_large_or_no_text_are_refused(tmp_path: Path) -> None:
    large, binary = tmp_path / "large.toml", tmp_path / "binary.toml"
    large.write_text("#" * (MAX_BYTES + 1))
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (large, binary, tmp_path):
        with pytest.raises(FeatxError):
            read_file(path)


@pytest.mark.parametrize("text", ["[[row]]\nC = " + "[" * 5000, "a = " + "{a=" * 3000])
def test_deep_nesting_is_an_ordinary_error(text: str) -> None:
    with pytest.raises(OptionError):
        parse(text, "x.toml")


SCALARS = st.one_of(
    st.none().map(lambda _: "true"),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.sampled_from(
        ['"layer1:avg"', '"{mode}"', '"row:0"', '"pixels"', '"scratch"', '"fit"', "2020-01-01", '"a\\u001b"']
    ),
)
VALUES: Any = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3).map(lambda v: f"[{', '.join(v)}]"), max_leaves=5
)
LINES = st.tuples(st.sampled_from([*HINTS, "name", "x"]), VALUES).map(lambda pair: f"{pair[0]} = {pair[1]}")
TABLES = st.tuples(
    st.sampled_from(["[[row]]", "[defaults]", "[fit]", "[train]", "[recipe]", "[row]"]), st.lists(LINES, max_size=4)
).map(lambda pair: "\n".join([pair[0], *pair[1]]))


@settings(max_examples=150, deadline=None)
@given(st.lists(TABLES, max_size=4), st.booleans())
def test_whatever_a_recipe_holds_it_is_read_or_refused_in_one_line(tables: list[str], headed: bool) -> None:
    text = "\n".join([HEAD if headed else "", *tables])
    refused: FeatxError | None = None
    found: Sequence[Experiment] = ()
    try:
        found = expand(parse(text, "x.toml")).experiments
    except FeatxError as error:
        refused = error
    assert refused.message.isprintable() if refused else found


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_whatever_is_set_is_read_or_refused(text: str) -> None:
    try:
        change = parse_override(text)
    except OptionError:
        return
    assert change.key in HINTS
