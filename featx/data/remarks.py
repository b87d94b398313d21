"""What is worth a warning about many images of a source: said at the first, the tenth, the hundredth, ..."""

from __future__ import annotations

import threading
import warnings
from collections import Counter

from featx.errors import FeatxWarning


class Remarks:
    """Counts what was remarked of images, by topic, from any thread."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, int] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Remarks], tuple[()]]:
        return Remarks, ()  # another process starts counting again

    def differs(self, topic: str, value: int) -> bool:
        """Tell whether a value is another than the first of this topic."""
        with self._lock:
            return self._first.setdefault(topic, value) != value

    def say(self, topic: str, name: str, text: str) -> None:
        """Warn that an image is so, unless nearly as many were before it.

        Parameters
        ----------
        topic : str
            What is counted together.
        name : str
            The image.
        text : str
            What follows its name.

        Warns
        -----
        FeatxWarning
            For the first, tenth, hundredth, ... image.
        """
        with self._lock:
            self._counts[topic] += 1
            count = self._counts[topic]
        if count == 10 ** (len(str(count)) - 1):
            more = f" (and {count - 1:,} before it)" if count > 1 else ""
            warnings.warn(f"image {name}{more} {text}", FeatxWarning, stacklevel=3)
