"""What people call the parts of a data set, and what they do not mean by it."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.data.split_names import SPLIT_WORDS, name_splits, split_of, splits_in
from featx.errors import FeatxWarning, SourceError


@pytest.mark.parametrize(
    ("split", "names"),
    [
        (
            "train",
            ("train", "TRAIN", "Training Set", "train_images", "train2017", "TrainImages", "trainval", "Train-Val"),
        ),
        ("val", ("val", "valid", "validation_data", "VAL2017", "dev", "Validation Images", "(val)")),
        ("test", ("test", "TeStInG", "test-set", "Testing Images", "eval", "hold out", "held-out", "imgs test 1999")),
        (
            None,
            (
                "",
                "cat",
                "trains",
                "tests",
                "contest",
                "images",
                "2017",
                "seg_train",
                "train test",
                "train1",
                "test5000",
            ),
        ),
    ],
)
def test_names_of_splits_are_told_from_others(split: str | None, names: tuple[str, ...]) -> None:
    assert {name: split_of(name) for name in names} == dict.fromkeys(names, split)


@given(
    st.sampled_from(sorted(SPLIT_WORDS)),
    st.sampled_from(["", "set", "images", "data", "2012"]),
    st.sampled_from(" _-."),
)
def test_every_word_means_the_same_with_fillers_and_in_any_case(word: str, filler: str, sign: str) -> None:
    for name in (f"{word}{sign}{filler}", f"{filler}{sign}{word}".upper(), f"{word.title()}{filler.title()}"):
        assert split_of(name) == SPLIT_WORDS[word]


def test_words_within_a_name_are_heard_too() -> None:
    assert splits_in("seg_train") == {"train"}
    assert splits_in("myTestAndVal") == {"test", "val"}
    assert splits_in("contest") == set()


def test_names_of_one_split_each_mean_what_they_say() -> None:
    assert name_splits(["Training", "dev"], "x") == {"Training": "train", "dev": "val"}


@pytest.mark.parametrize("names", [["train", "training"], ["val", "dev"], ["test", "testing", "train"]])
def test_two_names_of_one_split_are_refused(names: list[str]) -> None:
    with pytest.raises(SourceError, match=f"x holds {names[0]} and {names[1]}|x holds {names[1]} and {names[0]}"):
        name_splits(names, "x")


def test_evaluation_validates_only_beside_a_test_and_where_nothing_else_does() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert name_splits(["train", "eval"], "x") == {"train": "train", "eval": "test"}
    with pytest.warns(FeatxWarning, match="x holds eval next to test: eval is used for validation"):
        assert name_splits(["eval", "test"], "x") == {"eval": "val", "test": "test"}
    with pytest.raises(SourceError, match="eval and test, which mean the same split, test"):
        name_splits(["eval", "test", "val"], "x")
