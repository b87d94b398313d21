"""Forward passes of small images on the CPU: several batches at once, a thread each.

One pass on all cores is many small operators, each of which waits for the slowest thread, and stands still while images
are decoded. Passes in one thread each wait for nothing, and decoding threads take what they leave.
"""

from __future__ import annotations

from contextlib import suppress

import torch

from featx.core.lone_threads import lone_pool
from featx.data.batch_loader import Shape
from featx.data.decoding import Pixels
from featx.errors import FeatxError
from featx.extraction.forward import Forward
from featx.extraction.staging import Pending

LARGEST = 96 * 96
"""Pixels of an image up to which it is quicker; each batch at work needs memory of its own."""


def pays(forward: Forward, shape: Shape) -> bool:
    """Tell whether passes for prepared images (C, H, W) are quicker side by side, and may run so."""
    _, height, width = shape
    return forward.shares_nothing and height * width <= LARGEST and torch.get_num_threads() > 1


class SideBySide:
    """Begins passes in threads of its own, as many as torch has here; for one caller.

    Parameters
    ----------
    forward : Forward
        Of which this is the only user; see `pays`.

    Attributes
    ----------
    ahead : int
        So many passes may have begun before the rows of one are asked for.
    """

    def __init__(self, forward: Forward) -> None:
        threads = torch.get_num_threads()
        forward.takes_turns = False
        self._forward, self.ahead = forward, threads
        self._pool = lone_pool(threads, "featx-forward")
        self._known: set[tuple[tuple[int, ...], ...]] = set()

    def __call__(self, *views: Pixels) -> Pending:
        """Begin a pass; see `Forward`."""
        begun = self._pool.submit(self._forward, *views)
        sizes = tuple(view.shape[1:] for view in views)
        if sizes not in self._known:  # the first batch packs the weights for its maps: by one thread, before any other
            with suppress(FeatxError):
                begun.result()
            self._known.add(sizes)
        return Pending(lambda: begun.result().rows())

    def close(self) -> None:
        """End the threads, after the passes that they are at."""
        self._pool.shutdown(cancel_futures=True)
