"""Features that are read block by block give the fit of those in memory."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from featx.probes import streaming
from featx.probes.lbfgs import Solution
from featx.probes.problem import Matrix, column_stats, make_problem
from featx.probes.softmax_solver import fit_softmax
from featx.probes.streaming import Stream

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(5000, 7)) @ RNG.normal(size=(7, 7)) + 1).astype(np.float32)
Y = torch.from_numpy((X[:, :3] + 2 * RNG.normal(size=(5000, 3))).argmax(1))


@pytest.fixture(params=["memory map", "HDF5", "float16", "float64"])
def matrix(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "HDF5":
        with h5py.File(tmp_path / "x.h5", "w") as file:
            yield file.create_dataset("X", data=X)
    elif request.param == "memory map":
        np.save(tmp_path / "x.npy", X)
        yield np.load(tmp_path / "x.npy", mmap_mode="r")
    else:
        yield X.astype(request.param)


@pytest.fixture(autouse=True, params=[7 * 4 * 900, 1 << 20])
def _pieces(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(streaming, "READ_BYTES", request.param)


def fit(rows: Matrix) -> Solution:
    weight = torch.ones(len(Y), dtype=torch.float64)
    problem = make_problem(rows, Y, 3, C=0.1, weight=weight, fit_intercept=True, standardize=False)
    return fit_softmax(problem, tol=1e-6, max_iter=200)


def test_blocks_are_the_rows_in_order(matrix: Any) -> None:
    stream = Stream(matrix)
    rows, parts = zip(*stream.blocks(), strict=True)
    assert [r.start for r in rows[1:]] == [r.stop for r in rows[:-1]]
    assert (rows[0].start, rows[-1].stop) == (0, len(X))
    assert np.array_equal(torch.cat(parts).numpy(), np.asarray(matrix, parts[0].numpy().dtype))


def test_a_stream_is_fitted_as_the_array_is(matrix: Any) -> None:
    held = torch.from_numpy(np.array(matrix))
    held = held.float() if held.dtype == torch.float16 else held
    streamed, whole = fit(Stream(matrix)), fit(held)
    assert streamed.converged
    assert streamed.value == pytest.approx(whole.value, rel=1e-8)
    torch.testing.assert_close(streamed.point, whole.point, atol=1e-3, rtol=1e-3)


def test_an_error_while_reading_is_raised_where_the_rows_are_used() -> None:
    class Broken:
        shape, dtype = (5000, 7), np.dtype(np.float32)

        def __getitem__(self, rows: slice) -> Any:
            if rows.stop > 1000:
                raise OSError("the disk is gone")
            return X[rows]

    with pytest.raises(OSError, match="the disk is gone"):
        for _ in Stream(Broken()).blocks():
            pass


def test_statistics_of_blocks_are_those_of_the_whole(matrix: Any) -> None:
    weight = torch.rand(len(X), generator=torch.Generator().manual_seed(0)).double()
    weight[:2500] = 0  # whole blocks that do not count
    mean, deviation = column_stats(Stream(matrix), weight, centre=True)
    wide, w = np.asarray(matrix, np.float64), weight.numpy()
    expected = (w @ wide) / w.sum()
    np.testing.assert_allclose(mean.numpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(deviation.numpy(), np.sqrt(w @ (wide - expected) ** 2 / w.sum()), rtol=1e-10)


def test_reading_stops_with_the_one_who_reads() -> None:
    read: list[int] = []

    class Counted:
        shape, dtype = X.shape, X.dtype

        def __getitem__(self, rows: slice) -> Any:
            read.append(rows.start)
            return X[rows]

    stream = Stream(Counted())
    reading = stream.blocks()
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert 1 <= len(read) <= 3  # what was taken, and two pieces ahead; smaller pieces are six
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("featx-read")]
    assert torch.equal(torch.cat([block for _, block in stream.blocks()]), torch.from_numpy(X))  # and begins anew
