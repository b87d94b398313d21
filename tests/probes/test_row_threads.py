"""Blocks of rows side by side: the same sums whatever the threads, in order, and in forked processes too."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from featx.probes.duality_gap import objective_gap
from featx.probes.objective import evaluate, hessian_product, start_point
from featx.probes.problem import BLOCK_ROWS_CPU, Problem, make_problem, per_block
from featx.probes.products import ALONE_COLUMNS
from featx.probes.row_threads import small_kernels_alone

ROWS = 5 * BLOCK_ROWS_CPU + 7


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def problem_of(dtype: Any = np.float32, *, far: float = 0.0) -> Problem:
    random = np.random.default_rng(0)
    X = (random.normal(size=(ROWS, 6)) + far).astype(dtype)
    y = random.integers(0, 3, ROWS)
    weight = torch.from_numpy(random.uniform(0.5, 2, ROWS))
    how = {"C": 1.0, "weight": weight, "fit_intercept": True, "standardize": False}
    return make_problem(torch.from_numpy(X), torch.from_numpy(y), 3, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("far", [0.0, 1e4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_do_not_depend_on_the_threads(dtype: Any, far: float) -> None:
    problem = problem_of(dtype, far=far)
    theta = start_point(problem) + 0.1 * torch.randn(3, 7, generator=torch.Generator().manual_seed(0)).double()
    found = []
    for threads in (2, 3, 8):
        torch.set_num_threads(threads)
        at = evaluate(problem, theta)
        found.append((at.value, at.gradient, hessian_product(problem, theta, theta), objective_gap(problem, theta)))
        assert torch.get_num_threads() == threads
    for value, gradient, product, gap in found[1:]:
        assert (value, gap) == (found[0][0], found[0][3])
        assert torch.equal(gradient, found[0][1])
        assert torch.equal(product, found[0][2])


def test_blocks_are_computed_by_other_threads_and_given_in_order() -> None:
    torch.set_num_threads(2)
    main = threading.get_ident()
    found = list(per_block(problem_of(), lambda rows, block: (rows.start, len(block), threading.get_ident())))
    assert [start for start, _, _ in found] == list(range(0, ROWS, BLOCK_ROWS_CPU))
    assert sum(rows for _, rows, _ in found) == ROWS
    assert main not in {thread for *_, thread in found}


def test_each_thread_computes_alone() -> None:
    torch.set_num_threads(2)
    assert set(per_block(problem_of(), lambda _rows, _block: torch.get_num_threads())) == {1}
    assert torch.get_num_threads() == 2


def test_one_thread_and_few_rows_need_no_others() -> None:
    torch.set_num_threads(1)
    assert set(per_block(problem_of(), lambda _rows, _block: threading.get_ident())) == {threading.get_ident()}


def test_kernels_are_shared_where_blocks_are_not() -> None:
    torch.set_num_threads(2)
    with small_kernels_alone(torch.zeros(ROWS, 6)):
        assert torch.get_num_threads() == 1
        with small_kernels_alone(torch.zeros(ROWS, 6)):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    for other in (object(), torch.zeros(9, 6), torch.empty(1, ALONE_COLUMNS).expand(ROWS, ALONE_COLUMNS)):
        with small_kernels_alone(other):  # read from a disk, of few rows, of many columns
            assert torch.get_num_threads() == 2


def test_what_fails_in_a_block_fails_here() -> None:
    torch.set_num_threads(2)

    def fails(rows: slice, _block: torch.Tensor) -> None:
        if rows.start:
            raise MemoryError("too much")

    with pytest.raises(MemoryError, match="too much"):
        list(per_block(problem_of(), fails))
    assert len(list(per_block(problem_of(), lambda rows, _block: rows))) == 6


def _value(sent: Any) -> None:
    problem = problem_of()
    sent.send(evaluate(problem, start_point(problem)).value)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    torch.set_num_threads(2)
    problem = problem_of()
    expected = evaluate(problem, start_point(problem)).value
    fork = multiprocessing.get_context("fork")
    own, sent = fork.Pipe()
    child = fork.Process(target=_value, args=(sent,))
    child.start()
    assert own.poll(60)
    assert own.recv() == expected
    child.join(60)
    assert child.exitcode == 0
