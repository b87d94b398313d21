"""What of a comparison fits: seeds give way before rows, rows by their place, and what is done costs nothing."""

from __future__ import annotations

from featx.recipes.budget import Priced, within

ROWS = (
    Priced("pixels", each=10),
    Priced("softmax", once=20, each=10),
    Priced("finetune", each=10, epoch=10, epochs=10),
    Priced("scratch", each=10, epoch=10, epochs=40),
)
SEEDS = (0, 1, 2)


def test_all_fits() -> None:
    found = within(ROWS, SEEDS, 10_000)
    assert found.seeds == SEEDS
    assert not found.left_out
    assert found.epochs == {"pixels": 0, "softmax": 0, "finetune": 10, "scratch": 40}
    assert found.seconds == 3 * (10 + 10 + 110 + 410) + 20


def test_no_budget_keeps_all() -> None:
    assert within(ROWS, SEEDS, None).seconds == within(ROWS, SEEDS, 10_000).seconds


def test_seeds_give_way_first() -> None:
    found = within(ROWS, SEEDS, 1200)
    assert found.seeds == (0, 1)
    assert len(found.epochs) == 4
    assert found.epochs["scratch"] == 40


def test_then_epochs_then_rows() -> None:
    assert within(ROWS, SEEDS, 400).epochs == {"pixels": 0, "softmax": 0, "finetune": 5, "scratch": 20}
    found = within(ROWS, SEEDS, 250)
    assert found.left_out == {"scratch": 410.0}
    assert found.seeds == (0,)
    assert found.epochs == {"pixels": 0, "softmax": 0, "finetune": 10}
    assert found.seconds <= 250


def test_a_row_left_out_gives_its_time_to_seeds() -> None:
    rows = (ROWS[0], ROWS[1], Priced("scratch", epoch=1000, epochs=40))
    assert within(rows, SEEDS, 100).seeds == SEEDS


def test_a_cheap_row_is_kept_behind_one_that_does_not_fit() -> None:
    rows = (ROWS[0], Priced("finetune", epoch=1000, epochs=10), Priced("frozen", each=5))
    assert list(within(rows, SEEDS, 60).epochs) == ["pixels", "frozen"]


def test_nothing_fits() -> None:
    found = within(ROWS, SEEDS, 1)
    assert not found.epochs
    assert len(found.left_out) == 4


def test_what_is_done_costs_nothing_and_stays() -> None:
    done = {("scratch", 0)}
    found = within([*ROWS[:3], Priced("scratch", each=10, epoch=10, epochs=40, is_settled=True)], SEEDS, 150, done)
    assert found.epochs["scratch"] == 40
    assert found.seeds == (0,)


def test_features_are_computed_with_the_first_seed_alone() -> None:
    assert ROWS[1].seconds((0, 1)) == 40
    assert ROWS[1].seconds((0, 1), {("softmax", 0)}) == 10


def test_a_training_that_was_begun_costs_only_its_rest() -> None:
    begun = Priced("finetune", each=10, epoch=10, epochs=10, is_settled=True, ahead=80)
    assert begun.seconds((0,)) == 30
    assert begun.seconds((0, 1)) == 140
    assert begun.seconds((0,), {("finetune", 0)}) == 0
    assert within([begun], (0,), 40).epochs == {"finetune": 10}
