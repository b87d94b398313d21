"""Requests to servers: so many at a time, each tried again where that may help, none waited for without end."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from featx.data.remote.failures import Failure, RequestError, failure_of
from featx.errors import OptionError

IN_FLIGHT = "FEATX_REQUESTS"
"""The environment variable that says how many requests may be under way at a time."""

MAX_IN_FLIGHT = 1024

_BLOCK = 1 << 14
"""Requests that wait in memory at most."""

T = TypeVar("T")
A = TypeVar("A")


@dataclass(frozen=True)
class Policy:
    """How a server is asked.

    Attributes
    ----------
    in_flight : int
        Requests under way at a time, in this process.
    tries : int
        Of each request at most.
    pause : float
        Seconds before the second try at most; twice as many before each further one.
    longest_pause : float
        Seconds at most.
    silence : float
        Seconds that a silent server is waited for.
    """

    in_flight: int = 32
    tries: int = 6
    pause: float = 0.5
    longest_pause: float = 20.0
    silence: float = 30.0


def policy() -> Policy:
    """Return how servers are asked, as many requests at a time as ``FEATX_REQUESTS`` says.

    Raises
    ------
    OptionError
        It says something else than a number from 1 to 1,024.
    """
    said = os.environ.get(IN_FLIGHT)
    if not said:
        return Policy()
    if not said.isdecimal() or len(said) > 4 or not 1 <= int(said) <= MAX_IN_FLIGHT:
        raise OptionError(
            f"{IN_FLIGHT} is {said!r:.40}, expected a number of requests from 1 to {MAX_IN_FLIGHT}",
            f"export {IN_FLIGHT}={Policy.in_flight}",
        )
    return Policy(in_flight=int(said))


class Requests:
    """Requests under one policy.

    Parameters
    ----------
    how : Policy
        For all of them.
    """

    def __init__(self, how: Policy) -> None:
        self.policy = how
        self._turns = threading.BoundedSemaphore(how.in_flight)

    def try_all(self, call: Callable[[], T]) -> T:
        """Return what a request gives, tried as often as the policy says.

        Raises
        ------
        RequestError
            It failed for good. Nothing of the library's own exception hangs on it: that would show a URL's secrets.
        """
        tries = 1
        while isinstance(found := self._once(call), Failure):
            if not found.passes or tries >= self.policy.tries:
                raise RequestError(found, tries)
            # Not all at the same moment again: that is what a server in trouble cannot bear.
            most = min(self.policy.longest_pause, self.policy.pause * 2 ** (tries - 1))
            time.sleep(most * random.uniform(0.5, 1))
            tries += 1
        return found[0]

    def _once(self, call: Callable[[], T]) -> tuple[T] | Failure:
        try:
            with self._turns:
                return (call(),)
        except Exception as exc:  # whatever the libraries and their parsers meet
            failure = failure_of(exc)
            if failure is None:
                raise
            return failure

    def map(self, call: Callable[[A], T], items: Iterable[A]) -> Iterator[T]:
        """Give what `call` does with each of some items, in their order, as many at a time as may be under way."""
        todo = iter(items)
        with ThreadPoolExecutor(self.policy.in_flight, "featx-request") as pool:
            while some := list(islice(todo, _BLOCK)):
                yield from pool.map(call, some)
