"""What an estimator takes as X, as one array in memory: the one place where features that lie elsewhere are read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import _check_n_features, column_or_1d, validate_data

from featx.errors import OptionError

HELD_BYTES = 2 << 30
"""Features on a disk are read into memory up to this size; larger ones are streamed, pass after pass."""

BLOCK_VALUES = 2**21
"""Values of X that are looked at, or predicted for, at a time."""


def as_matrix(X: Any, stream: bool = False) -> Any:
    """Return X with features that lie on a disk read into memory; anything else as it is.

    Parameters
    ----------
    X : array-like
        A FeatureTable stands for its ``X``.
    stream : bool
        Leave those larger than `HELD_BYTES` where they are.
    """
    if hasattr(X, "iter_chunks") and hasattr(X, "X"):
        X = X.X
    return np.asarray(X) if _lies_elsewhere(X) and not (stream and is_streamed(X)) else X


def is_streamed(X: Any) -> bool:
    """Tell whether X is to be read piece by piece: it lies on a disk, and is larger than `HELD_BYTES`."""
    return _lies_elsewhere(X) and X.nbytes > HELD_BYTES


def _lies_elsewhere(X: Any) -> bool:
    """Tell a FeatureMatrix, an h5py dataset and a ``numpy.memmap`` from what lies in memory."""
    return isinstance(X, np.memmap) or hasattr(X, "iter_chunks")


def labels_of(X: Any) -> NDArray[np.int64] | None:
    """Return the labels that a FeatureTable brings along, None for anything else.

    Raises
    ------
    OptionError
        Some are unknown (-1).
    """
    labels = getattr(X, "y", None) if hasattr(X, "iter_chunks") else None
    if labels is not None and (labels < 0).any():
        raise OptionError(
            f"row {int(np.argmax(labels < 0))} of the table has no label, expected one for each row",
            "give y, or take the rows that have labels",
        )
    return labels


def validated(
    estimator: Any, X: Any, y: Any = "no_validation", *, reset: bool, accept_sparse: Any = False, stream: bool = False
) -> Any:
    """Return X, and y where it was given, once shapes, types and values are right: scikit-learn's `validate_data`.

    float32 and float64 stay what they are; `reset` says whether the estimator learns its columns from X, `stream`
    whether X may come back as what is read piece by piece (`is_streamed`). The values of such an X are not looked at
    here, which would read all of it: its first reader does (`check_finite`).

    Raises
    ------
    ValueError
        What cannot be worked with; as OptionError, naming the first bad row, for NaN and infinity.
    """
    X = as_matrix(X, stream)
    if stream and is_streamed(X):
        return _validated_stream(estimator, X, y, reset)
    options: dict[str, Any] = {"accept_sparse": accept_sparse, "dtype": accepted(X), "ensure_all_finite": False}
    found = validate_data(estimator, X, y, reset=reset, **options)
    check_finite(found[0] if isinstance(found, tuple) else found)
    return found


def _validated_stream(estimator: Any, X: Any, y: Any, reset: bool) -> Any:
    if len(X.shape) != 2 or X.dtype.kind != "f":
        raise OptionError(f"X is {X.dtype} {X.shape}, expected floating-point numbers (n, d)")
    _check_n_features(estimator, X, reset=reset)
    if isinstance(y, str):
        return X
    y = column_or_1d(y, warn=True)
    if len(y) != X.shape[0]:
        raise OptionError(f"{len(y)} labels for {X.shape[0]} rows, expected one each")
    return X, y


def accepted(X: Any) -> Any:
    """Return the types that validation leaves alone: float16 becomes float32, all but float32 float64."""
    return np.float32 if getattr(X, "dtype", None) == np.float16 else (np.float64, np.float32)


def rows_a_block(X: Any) -> int:
    """Return how many rows make up `BLOCK_VALUES`."""
    return max(1, BLOCK_VALUES // max(1, int(X.shape[1])))


def check_finite(X: Any, first: int = 0) -> None:
    """Raise OptionError, naming the first bad row, where X (an array or a CSR matrix) holds NaN or infinity.

    Parameters
    ----------
    X : array of shape (n, d)
        Looked at block by block.
    first : int
        The number of its first row, where it is a part of what is spoken of.
    """
    step = rows_a_block(X)
    for start in range(0, X.shape[0], step):
        block = dense(X[start : start + step])
        if is_finite(block):
            continue
        row, column = np.argwhere(~np.isfinite(block))[0].tolist()
        value = "NaN" if np.isnan(block[row, column]) else "infinity"
        raise OptionError(f"row {first + start + row} of X holds {value} in column {column}, expected finite numbers")


def is_finite(block: NDArray[Any]) -> bool:
    """Tell whether all values are finite."""
    # One number for a whole block: fast where all is well. It may be too large, though none of the values is.
    return bool(np.isfinite(block.sum(dtype=np.float64)) or np.isfinite(block).all())


def dense(X: Any) -> NDArray[Any]:
    """Return a sparse matrix as an array; an array as it is."""
    array: NDArray[Any] = X.toarray() if sparse.issparse(X) else X
    return array
