"""Rows to learn from, to choose by and to score: disjoint, stratified, and the same wherever the data lies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from featx.data.splits import Partition, check_split, hold_out, missing_classes_of, partition, subsample
from featx.errors import OptionError, SourceError


@dataclass
class Rows:
    """A source of nothing but labels and hashes; equal content numbers are equal images."""

    contents: list[int]
    labels: Any
    split: str = "all"
    classes: tuple[str, ...] = ("a", "b", "c", "d")

    def __post_init__(self) -> None:
        self.labels = np.array(self.labels, np.int64)
        self.ids = [f"{self.split}/{i}" for i in range(len(self.contents))]

    def row_hashes(self) -> Any:
        digests = b"".join(hashlib.sha256(b"%d" % content).digest() for content in self.contents)
        return np.frombuffer(digests, np.uint8).reshape(-1, 32)


def balanced(n: int, k: int = 4, split: str = "all", start: int = 0) -> Rows:
    return Rows(list(range(start, start + n)), [i % k for i in range(n)], split)


def contents(part: Any) -> list[int]:
    return sorted(part.source.contents[row] for row in part.rows)


def names(cut: Partition) -> dict[str, str]:
    return {name: part.source.split for name, part in cut.parts().items()}


MANY_DUPLICATES = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 2)), min_size=1, max_size=80)

# hold_out


@settings(deadline=None)
@given(MANY_DUPLICATES, st.integers(0, 3), st.sampled_from([0.1, 0.3, 0.5]))
def test_equal_images_never_stand_on_both_sides(rows: list[tuple[int, int]], seed: int, fraction: float) -> None:
    source = Rows([content for content, _ in rows], [label for _, label in rows])
    held = hold_out(source.row_hashes(), source.labels, fraction, seed)
    inside = {c for c, h in zip(source.contents, held, strict=True) if h}
    outside = {c for c, h in zip(source.contents, held, strict=True) if not h}
    assert inside.isdisjoint(outside)


@settings(deadline=None)
@given(MANY_DUPLICATES, st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_order_of_rows_decides_nothing(rows: list[tuple[int, int]], seed: int, random: Any) -> None:
    def held(some: list[tuple[int, int]]) -> list[tuple[int, int]]:
        source = Rows([content for content, _ in some], [label for _, label in some])
        mask = hold_out(source.row_hashes(), source.labels, 0.3, seed)
        return sorted(row for row, h in zip(some, mask, strict=True) if h)

    shuffled = list(rows)
    random.shuffle(shuffled)
    assert held(shuffled) == held(rows)


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=4), st.integers(0, 5), st.sampled_from([0.1, 0.25]))
def test_every_class_gives_its_share_and_at_least_one_of_two(sizes: list[int], seed: int, fraction: float) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    source = Rows(list(range(len(labels))), labels)
    held = hold_out(source.row_hashes(), source.labels, fraction, seed)
    for label, size in enumerate(sizes):
        expected = max(round(fraction * size), 1 if size >= 2 else 0)
        assert held[labels == label].sum() == expected


@pytest.mark.parametrize("copies", [(20,), (10, 10), (1, 19)])
def test_no_class_gives_all_of_its_contents(copies: tuple[int, ...]) -> None:
    others = list(range(100, 140))
    contents = [*others, *np.repeat(np.arange(len(copies)), copies).tolist()]
    labels = np.array([0] * len(others) + [1] * sum(copies))
    for seed in range(6):
        cut = partition({"all": Rows(contents, labels)}, seed=seed)
        assert (cut.train.labels == 1).any()
        assert set(np.asarray(contents)[cut.train.rows]).isdisjoint(np.asarray(contents)[cut.test.rows])


def test_another_seed_holds_out_other_rows_and_the_same_seed_the_same() -> None:
    source = balanced(200)
    masks = [hold_out(source.row_hashes(), source.labels, 0.1, seed) for seed in (0, 1, 2, 0)]
    assert len({mask.tobytes() for mask in masks}) == 3
    np.testing.assert_array_equal(masks[0], masks[3])


def test_what_is_held_out_is_pinned() -> None:
    # A change here makes every recorded accuracy of every user incomparable with the next one.
    held = hold_out(balanced(40).row_hashes(), balanced(40).labels, 0.1, 0)
    assert np.flatnonzero(held).tolist() == [0, 7, 10, 13]


def test_new_rows_leave_most_held_rows_where_they_are() -> None:
    small, large = balanced(400), balanced(440)
    before = hold_out(small.row_hashes(), small.labels, 0.1, 0)
    after = hold_out(large.row_hashes(), large.labels, 0.1, 0)[:400]
    assert (before & after).sum() >= 0.75 * before.sum()


def test_no_rows_hold_out_nothing() -> None:
    assert hold_out(np.empty((0, 32), np.uint8), np.empty(0, np.int64), 0.1, 0).tolist() == []


def test_zero_bytes_in_hashes_are_significant() -> None:
    hashes = np.zeros((4, 32), np.uint8)
    hashes[:, 31] = [0, 1, 0, 2]
    held = hold_out(hashes, np.zeros(4, np.int64), 0.5, 0)
    assert held[0] == held[2]
    assert 0 < held.sum() < 4


# partition


def test_without_splits_it_is_cut_80_10_10() -> None:
    cut = partition({"all": balanced(400)})
    assert [len(cut.train), len(cut.val), len(cut.test)] == [320, 40, 40]
    for part in cut.parts().values():
        assert len(set(np.bincount(part.labels))) == 1, "every class alike"
    assert sorted(contents(cut.train) + contents(cut.val) + contents(cut.test)) == list(range(400))


def test_an_own_test_split_is_the_test_set_and_validation_a_tenth_of_train() -> None:
    cut = partition({"train": balanced(200, split="train"), "test": balanced(60, split="test", start=1000)})
    assert names(cut) == {"train": "train", "val": "train", "test": "test"}
    assert [len(cut.train), len(cut.val), len(cut.test)] == [180, 20, 60]


@pytest.mark.parametrize(("share", "counts"), [(0.0, (180, 0, 20)), (0.3, (120, 60, 20)), (0.5, (80, 100, 20))])
def test_another_share_validates_and_a_tenth_still_tests(share: float, counts: tuple[int, int, int]) -> None:
    cut = partition({"all": balanced(200)}, val_size=share)
    assert tuple(map(len, (cut.train, cut.val, cut.test))) == counts
    usual = partition({"all": balanced(200)})
    assert contents(cut.test) == contents(usual.test)
    own = {"train": balanced(200, split="train"), "test": balanced(60, split="test", start=1000)}
    assert len(partition(own, val_size=share).val) == round(200 * share)


def test_a_share_is_refused_where_a_split_validates() -> None:
    own = {name: balanced(40, split=name, start=100 * i) for i, name in enumerate(("train", "val", "test"))}
    with pytest.raises(OptionError, match="no effect"):
        partition(own, val_size=0)


def test_a_lone_val_split_is_the_test_set() -> None:
    cut = partition({"train": balanced(200, split="train"), "val": balanced(60, split="val")})
    assert names(cut) == {"train": "train", "val": "train", "test": "val"}
    assert len(cut.val) == 20


def test_val_beside_test_validates_and_train_stays_whole() -> None:
    sources = {
        "train": balanced(200, split="train"),
        "val": balanced(40, split="val"),
        "test": balanced(60, split="test"),
    }
    cut = partition(sources)
    assert names(cut) == {"train": "train", "val": "val", "test": "test"}
    assert [len(cut.train), len(cut.val), len(cut.test)] == [200, 40, 60]


def test_an_unlabelled_test_split_is_passed_over() -> None:
    # Tiny-ImageNet's and most contests': the labelled val is what can be scored.
    unlabelled = Rows([7, 8], [-1, -1], "test")
    sources = {"train": balanced(200, split="train"), "val": balanced(60, split="val"), "test": unlabelled}
    assert names(partition(sources)) == {"train": "train", "val": "train", "test": "val"}
    alone = partition({"train": balanced(200, split="train"), "test": unlabelled})
    assert names(alone) == {"train": "train", "val": "train", "test": "train"}
    assert [len(alone.train), len(alone.val), len(alone.test)] == [160, 20, 20]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"test_split": "val"}, {"train": "train", "val": "train", "test": "val"}),
        ({"train_split": "val"}, {"train": "val", "val": "val", "test": "test"}),
        ({"train_split": "test"}, {"train": "test", "val": "test", "test": "val"}),
        ({"train_split": "test", "test_split": "train"}, {"train": "test", "val": "val", "test": "train"}),
        ({"train_split": "val", "test_split": "train"}, {"train": "val", "val": "val", "test": "train"}),
    ],
    ids=str,
)
def test_splits_can_be_chosen(chosen: dict[str, str], expected: dict[str, str]) -> None:
    sources = {name: balanced(200, split=name) for name in ("train", "val", "test")}
    assert names(partition(sources, **chosen)) == expected


def test_one_split_alone_is_cut_whatever_its_name() -> None:
    assert names(partition({"test": balanced(100, split="test")})) == dict.fromkeys(("train", "val", "test"), "test")


@pytest.mark.parametrize("wrong", [{"train_split": "trian"}, {"test_split": "tset"}], ids=str)
def test_a_mistyped_split_is_answered_with_its_neighbour(wrong: dict[str, str]) -> None:
    sources = {"train": balanced(20, split="train"), "test": balanced(20, split="test")}
    with pytest.raises(OptionError, match="there is no split") as caught:
        partition(sources, **wrong)
    assert "did you mean" in caught.value.hint


def test_one_split_can_not_both_train_and_test() -> None:
    sources = {"train": balanced(20, split="train"), "test": balanced(20, split="test")}
    for chosen in ({"test_split": "train"}, {"train_split": "test", "test_split": "test"}):
        with pytest.raises(OptionError, match="cannot be both the training and the test split"):
            partition(sources, **chosen)


def test_rows_without_labels_are_in_no_part() -> None:
    source = balanced(120)
    source.labels[::3] = -1
    cut = partition({"all": source})
    for part in cut.parts().values():
        assert (part.labels >= 0).all()
    assert sum(map(len, cut.parts().values())) == 80


@pytest.mark.parametrize("empty", ["train", "test"])
def test_a_split_without_labels_is_refused(empty: str) -> None:
    sources = {"train": balanced(20, split="train"), "test": balanced(20, split="test")}
    sources[empty].labels[:] = -1
    with pytest.raises(SourceError, match=f"split '{empty}' has no labels"):
        partition(sources, test_split="test")


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(SourceError, match="leaves no rows to test on"):
        partition({"all": balanced(4)})
    with pytest.raises(SourceError, match="leaves no rows to test on"):
        partition({"all": Rows([1] * 30, [0, 1] * 15)})


@settings(deadline=None, max_examples=60)
@given(MANY_DUPLICATES, st.integers(0, 3), st.booleans())
def test_parts_are_disjoint_rising_and_share_no_image(rows: list[tuple[int, int]], seed: int, own_test: bool) -> None:
    train = Rows([c for c, _ in rows], [label for _, label in rows], "train")
    sources = {"train": train} | ({"test": balanced(8, split="test", start=1000)} if own_test else {})
    try:
        cut = partition(sources, seed=seed)
    except SourceError:
        assume(False)
    for part in cut.parts().values():
        assert (np.diff(part.rows) > 0).all()
        assert part.rows.dtype == np.int64
    held = [part for part in cut.parts().values() if part.source is train]
    sides = [set(contents(part)) for part in held]
    assert sum(map(len, sides)) == len(set(train.contents))
    assert sorted(np.concatenate([part.rows for part in held])) == list(range(len(rows)))
    assert cut.count_leaked() == 0


def test_the_partition_does_not_depend_on_the_order_of_rows() -> None:
    order = np.random.default_rng(0).permutation(200)
    plain, shuffled = balanced(200), Rows(order.tolist(), order % 4)
    for seed in (0, 1):
        cuts = [partition({"all": source}, seed=seed) for source in (plain, shuffled)]
        for name in ("train", "val", "test"):
            assert contents(cuts[0].parts()[name]) == contents(cuts[1].parts()[name])


def test_seeds_differ_and_the_own_test_set_stays() -> None:
    sources = {"train": balanced(200, split="train"), "test": balanced(60, split="test")}
    cuts = [partition(sources, seed=seed) for seed in range(4)]
    assert len({tuple(cut.val.rows) for cut in cuts}) == 4
    assert len({tuple(cut.test.rows) for cut in cuts}) == 1
    assert [cut.seed for cut in cuts] == [0, 1, 2, 3]


def test_test_images_that_were_also_learnt_from_are_counted() -> None:
    train, test = balanced(100, split="train"), Rows([3, 500, 3, 501], [0, 1, 2, 3], "test")
    assert partition({"train": train, "test": test}).count_leaked() == 2


def test_a_partition_knows_its_sources_and_classes() -> None:
    sources = {"train": balanced(100, split="train"), "test": balanced(20, split="test")}
    cut = partition(sources)
    assert cut.sources() == sources
    assert cut.classes == ("a", "b", "c", "d")


def test_a_partition_knows_the_classes_that_it_cannot_teach() -> None:
    learnt, scored = Rows(list(range(20)), [0, 1] * 10, "train"), Rows(list(range(50, 70)), [0, 1, 2, 3] * 5, "test")
    assert missing_classes_of(partition({"train": learnt, "test": scored}).train) == ["c", "d"]


def test_check_split_is_silent_for_what_is_there() -> None:
    check_split("train", {"train": 1})


# thin

LABELS = st.lists(st.integers(-1, 3), min_size=1, max_size=60)


def ids_of(n: int) -> list[str]:
    return [f"cat/{i}.png" for i in range(n)]


@settings(deadline=None)
@given(LABELS, st.integers(0, 3))
def test_a_smaller_choice_is_part_of_a_larger(labels: list[int], seed: int) -> None:
    ids, y = ids_of(len(labels)), np.array(labels)
    for option in ("limit", "per_class"):
        before: set[int] = set()
        for n in range(1, len(labels) + 2):
            rows = subsample(ids, y, seed=seed, **{option: n})
            assert before <= set(rows.tolist()), f"{option} {n}"
            before = set(rows.tolist())
        assert before == set(range(len(labels)))


@settings(deadline=None)
@given(LABELS, st.integers(1, 70))
def test_limit_gives_so_many_rows_in_rising_order_with_the_classes_shares(labels: list[int], limit: int) -> None:
    y = np.array(labels)
    rows = subsample(ids_of(len(y)), y, limit=limit)
    assert len(rows) == min(limit, len(y))
    assert (np.diff(rows) > 0).all()
    for label in np.unique(y):
        fair = len(rows) * (y == label).mean()
        assert abs((y[rows] == label).sum() - fair) < len(np.unique(y))


@settings(deadline=None)
@given(LABELS, st.integers(1, 9))
def test_per_class_gives_so_many_of_each(labels: list[int], per_class: int) -> None:
    y = np.array(labels)
    rows = subsample(ids_of(len(y)), y, per_class=per_class)
    for label in np.unique(y):
        assert (y[rows] == label).sum() == min(per_class, (y == label).sum())


@settings(deadline=None)
@given(LABELS, st.integers(1, 30), st.randoms(use_true_random=False))
def test_a_choice_does_not_depend_on_the_order_of_rows(labels: list[int], limit: int, random: Any) -> None:
    pairs = list(zip(ids_of(len(labels)), labels, strict=True))
    shuffled = list(pairs)
    random.shuffle(shuffled)

    def chosen(some: list[tuple[str, int]]) -> set[str]:
        rows = subsample([name for name, _ in some], np.array([label for _, label in some]), limit=limit, per_class=7)
        return {some[row][0] for row in rows}

    assert chosen(shuffled) == chosen(pairs)


def test_equal_classes_stay_equal() -> None:
    y = np.arange(1000) % 10
    rows = subsample(ids_of(1000), y, limit=200)
    assert np.bincount(y[rows]).tolist() == [20] * 10


def test_a_choice_is_seeded() -> None:
    y = np.zeros(100, np.int64)
    choices = {tuple(subsample(ids_of(100), y, limit=10, seed=seed)) for seed in (0, 1, 2, 0)}
    assert len(choices) == 3
    assert all(max(rows) > 20 for rows in choices), "not simply the first ones"


def test_nothing_to_choose_from_gives_nothing() -> None:
    assert subsample([], np.empty(0, np.int64), limit=3).tolist() == []


@pytest.mark.parametrize("wrong", [0, -1, 2.5, float("nan"), "3"], ids=repr)
@pytest.mark.parametrize("option", ["limit", "per_class"])
def test_what_is_no_count_is_refused(option: str, wrong: Any) -> None:
    with pytest.raises(OptionError, match=option):
        subsample(ids_of(5), np.zeros(5, np.int64), **{option: wrong})
