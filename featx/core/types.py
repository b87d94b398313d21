"""Types that many modules share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RowNumbers = npt.NDArray[np.int64]
"""Row numbers, of shape (n,)."""
