"""Logits and classes of rows that a calibration is fitted on, ordinary ones and those that determine nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax


def drawn(n: int, k: int, size: float, seed: int = 0) -> tuple[Any, Any]:
    """Return logits (n, k) of this size, and classes that they say with a temperature of size / 1.3."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((n, k))
    y = np.array([rng.choice(k, p=row) for row in softmax(1.3 * logits, axis=1)])
    return size * logits, y


whole = st.integers(-4, 4).map(float)
near = st.floats(-30, 30, allow_subnormal=False)


@st.composite
def problems(draw: Any) -> tuple[Any, Any]:
    """Rows of few values, so that many are tied, certain, all right or all wrong, and some classes have none."""
    n, k = draw(st.integers(1, 12)), draw(st.integers(2, 4))
    size = draw(st.sampled_from([1e-6, 1.0, 40.0, 1e5]))
    logits = draw(arrays(np.float64, (n, k), elements=draw(st.sampled_from([whole, near])))) * size
    kind = draw(st.sampled_from(["any", "right", "wrong", "one class"]))
    if kind == "right":
        return logits, logits.argmax(axis=1)
    if kind == "wrong":
        return logits, logits.argmin(axis=1)
    top = 0 if kind == "one class" else k - 1
    return logits, draw(arrays(np.int64, n, elements=st.integers(0, top)))
