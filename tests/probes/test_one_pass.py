"""A matrix on the disk is read once before the solver begins, and what is not finite in it is found on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featx import SoftmaxRegression
from featx.errors import OptionError
from featx.probes import check_array, softmax, streaming
from featx.probes.streaming import Stream

ROWS, COLUMNS = 3000, 6


class Counted:
    """Features that lie elsewhere, with a count of the rows that were read of them."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values
        self.shape, self.dtype, self.nbytes = values.shape, values.dtype, values.nbytes
        self.rows_read = 0

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        found = self._values[rows].copy()
        self.rows_read += len(found)
        return found

    def iter_chunks(self) -> None:
        """Tell that these are no values in memory."""


@pytest.fixture(autouse=True)
def _in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_array, "HELD_BYTES", 1000)
    monkeypatch.setattr(check_array, "BLOCK_VALUES", COLUMNS * 700)
    monkeypatch.setattr(streaming, "READ_BYTES", COLUMNS * 4 * 500)


def rows_and_labels() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(ROWS, COLUMNS)) + 1).astype(np.float32)
    return X, (X[:, :3] + rng.normal(size=(ROWS, 3))).argmax(1)


@pytest.mark.parametrize("options", [{}, {"normalize": "l2"}, {"standardize": True}, {"fit_intercept": False}])
def test_rows_are_read_once_before_the_first_step(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    values, y = rows_and_labels()
    X, at_start = Counted(values), []
    fit_softmax = softmax.fit_softmax

    def begun(*args: Any, **kwargs: Any) -> Any:
        at_start.append(X.rows_read)
        return fit_softmax(*args, **kwargs)

    monkeypatch.setattr(softmax, "fit_softmax", begun)
    model = SoftmaxRegression(**options).fit(X, y)
    centred = options.get("fit_intercept", True)
    assert at_start == [ROWS + centred]  # values are added up relative to those of one row
    assert model.n_iter_ > 0
    assert X.rows_read > 2 * ROWS  # the steps read them too


def test_a_prediction_reads_each_row_once() -> None:
    values, y = rows_and_labels()
    model, X = SoftmaxRegression().fit(values, y), Counted(values)
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(values))
    assert X.rows_read == ROWS


@pytest.mark.parametrize(("row", "column"), [(0, 0), (499, 5), (500, 0), (1234, 3), (ROWS - 1, 5)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("normalize", [None, "l2"])
def test_what_is_not_finite_is_named_wherever_it_is(row: int, column: int, bad: float, normalize: Any) -> None:
    values, y = rows_and_labels()
    model = SoftmaxRegression(normalize=normalize).fit(values, y)
    values[row, column] = values[ROWS - 1, 5] = bad
    kind = "NaN" if np.isnan(bad) else "infinity"
    said = f"^row {row} of X holds {kind} in column {column}, expected finite numbers$"
    for given in (values, Counted(values)):
        with pytest.raises(OptionError, match=said):
            SoftmaxRegression(normalize=normalize).fit(given, y)
        with pytest.raises(OptionError, match=said):
            model.predict(given)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_type_is_looked_at(dtype: type) -> None:
    values, y = rows_and_labels()
    values = values.astype(dtype)
    values[2000, 4] = np.inf
    with pytest.raises(OptionError, match="row 2000 of X holds infinity in column 4"):
        SoftmaxRegression().fit(Counted(values), y)


def test_rows_without_weight_are_looked_at() -> None:
    values, y = rows_and_labels()
    values[700, 1] = np.nan
    weight = np.ones(ROWS)
    weight[:1500] = 0
    with pytest.raises(OptionError, match="row 700 of X holds NaN in column 1"):
        SoftmaxRegression().fit(Counted(values), y, weight)


@pytest.mark.parametrize("normalize", [None, "l2"])
def test_the_first_bad_row_is_named_though_a_later_one_is_read_before_it(normalize: Any) -> None:
    values, y = rows_and_labels()
    values[40, 2] = np.inf
    values[2500, 0] = np.nan
    weight = np.ones(ROWS)
    weight[2500] = 5  # the heaviest row is what the statistics are relative to
    with pytest.raises(OptionError, match="row 40 of X holds infinity in column 2"):
        SoftmaxRegression(normalize=normalize).fit(Counted(values), y, weight)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_large_finite_values_are_streamed() -> None:
    X = Counted(np.full((ROWS, COLUMNS), 1e308))
    assert sum(len(block) for _, block in Stream(X).blocks()) == ROWS
    assert X.rows_read == ROWS
