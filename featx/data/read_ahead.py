"""Content fetched before it is asked for, many reads at a time: of files whose every read waits for a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from featx.data.files import Files


class ReadAhead:
    """Files, read by `read`, which gives at once what was fetched ahead.

    Parameters
    ----------
    files : Files
        Whose `in_flight` says how many reads should be under way.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._fetched: dict[str, Future[bytes]] = {}

    def read(self, name: str) -> bytes:
        """Return a file's content, and raise what reading it ahead raised."""
        ahead = self._fetched.pop(name, None)
        return self._files.read(name) if ahead is None else ahead.result()

    @contextmanager
    def fetching(self, names: Sequence[str]) -> Iterator[None]:
        """Fetch some files while what follows goes on; what nobody took by its end is dropped."""
        if not self._files.in_flight or not names:
            yield
            return
        pool = ThreadPoolExecutor(min(self._files.in_flight, len(names)), "featx-ahead")
        mine = {name: pool.submit(self._files.read, name) for name in dict.fromkeys(names)}
        self._fetched.update(mine)
        try:
            yield
        finally:
            for name, future in mine.items():
                if self._fetched.get(name) is future:
                    self._fetched.pop(name, None)
            pool.shutdown(wait=False, cancel_futures=True)
