"""Calls on a Dask cluster: that of an address, of a `distributed.Client`, or one that is started on this machine.

Dask pickles calls and results between a client, its scheduler and its workers. Whoever reaches a scheduler can run
code on its workers, and answer its clients: use a cluster of your own, in a network that you trust, or one with TLS
(``tls://``). What a store or an archive holds is never unpickled.
"""

from __future__ import annotations

import logging
import math
import platform
import re
import secrets
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from featx.core.executors import worker
from featx.core.executors.executor import Calls, Done, Executor, Numbered
from featx.core.executors.machine import how_many, threads_each
from featx.errors import FeatxWarning, OptionError, WorkerError

if TYPE_CHECKING:
    from distributed import Client, Future

Value = TypeVar("Value")

AHEAD = 2
"""Calls that each worker has at hand: one that runs, and the next."""

_ADDRESS = re.compile(r"(tcp|tls)://([^/:@\s]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?")
MOST_PORT = 65535

LOOK_SECONDS = 1.0
"""How often the scheduler is asked which workers there are."""

ALONE_SECONDS = 10.0
"""So long may a cluster have no worker before this is said."""

CONNECT_SECONDS, TELL_SECONDS = 15, 3
"""How long a scheduler may take to answer, and workers to be told something that may as well be lost."""


class DaskCluster(Executor):
    """Runs calls on the workers of a Dask cluster; those that join later take part.

    A worker runs one call at a time, with as many threads as Dask gives it (``--nthreads``): one worker for each
    machine or GPU, or for some of its processors.

    Parameters
    ----------
    name : str
        For the record.
    connect : callable
        Returns the client, and what else is to be closed in the end; called once there is something to run.
    planned : int, optional
        How many workers it starts, all on this machine; those of a cluster that is there are asked for.
    """

    in_process = False

    def __init__(self, name: str, connect: Callable[[], tuple[Client, list[Any]]], planned: int | None = None) -> None:
        self.name, self._connect, self._planned = name, connect, planned
        self.lost: list[str] = []
        self._run_id = secrets.token_hex(8)
        self._client: Client | None = None
        self._own: list[Any] = []
        self._seen: dict[str, str] = {}
        self._hosts: list[str] = []
        self._looked = 0.0
        self._alone_since: float | None = None

    @classmethod
    def at(cls, address: str) -> DaskCluster:
        """Return the cluster whose scheduler has this address; OptionError where it is none."""
        if not _ADDRESS.fullmatch(address) or not 1 <= int(address.rpartition(":")[2]) <= MOST_PORT:
            raise OptionError(
                f"cluster {address[:80]!r} is no scheduler's address, expected tcp://HOST:PORT or tls://HOST:PORT",
                "`dask scheduler` says its own, for example tcp://host:8786",
            )
        return cls(address, lambda: _connected(address))

    @classmethod
    def of(cls, client: Client) -> DaskCluster:
        """Return the cluster of a client, which stays its owner's to close."""
        if client.asynchronous:
            raise OptionError("the client is asynchronous, expected one that waits", "use Client(asynchronous=False)")
        return cls(f"dask:{client.scheduler.address}" if client.scheduler else "dask", lambda: (client, []))

    @classmethod
    def local(cls, text: str) -> DaskCluster:
        """Return a cluster of so many workers on this machine, to be started."""
        count = how_many("local", text)
        return cls(f"local:{count}", lambda: _started(count), count)

    def owns(self, number: int) -> bool:
        """See `Executor`."""
        return True

    def run(self, function: Callable[..., Value], calls: Calls) -> Generator[Done[Value], None, None]:
        """See `Executor`."""
        client, todo = self._ready(), Numbered(calls)
        pending: dict[Future, int] = {}
        ended: SimpleQueue[Future] = SimpleQueue()
        try:
            while True:
                room = AHEAD * max(1, len(self._workers())) - len(pending)
                for index, arguments in todo.take(room):
                    future = self._submit(client, function, arguments)
                    pending[future] = index
                    future.add_done_callback(ended.put)
                if not pending:
                    return
                with suppress(Empty):
                    future = ended.get(timeout=LOOK_SECONDS)
                    value, name = self._result(future)
                    yield Done(pending.pop(future), value, name)
        finally:
            if pending:  # an error, or an interruption
                with suppress(Exception):
                    client.cancel(list(pending), force=True)
                self.tell_all(worker.stop, self._run_id)
                self._run_id = secrets.token_hex(8)

    def ask_all(self, function: Callable[..., Value], *arguments: Any) -> dict[str, Value | BaseException]:
        """See `Executor`."""
        client, names = self._ready(), self._workers()
        asked = {
            address: self._submit(client, function, arguments, workers=[address], allow_other_workers=False)
            for address in names
        }
        answers: dict[str, Value | BaseException] = {}
        for address, future in asked.items():
            while not future.done() and address in self._workers():  # nobody else may answer in its place
                with suppress(TimeoutError):
                    future.exception(timeout=LOOK_SECONDS)
            if future.done():
                error = future.exception()
                answers[names[address]] = future.result()[0] if error is None else error
        return answers

    def tell_all(self, function: Callable[..., None], *arguments: Any) -> None:
        """See `Executor`: a worker that does not answer keeps nobody."""
        if self._client is None:
            return
        client = self._client

        def tell() -> None:
            with suppress(Exception):
                client.run(function, *arguments, on_error="ignore")

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        teller.join(TELL_SECONDS)

    def machines(self) -> Counter[str]:
        """See `Executor`."""
        if self._planned is not None:
            return Counter({platform.node(): self._planned})
        self._reached()
        self._workers()
        return Counter(self._hosts)

    def close(self) -> None:
        """See `Executor`: a client that was given stays open."""
        for thing in self._own:
            with suppress(Exception):
                thing.close()
        self._own, self._client = [], None

    def _ready(self) -> Client:
        """Return the client, once there is a worker; that may take a while where a job scheduler starts them."""
        client = self._reached()
        while not self._workers():
            time.sleep(LOOK_SECONDS / 4)
        return client

    def _reached(self) -> Client:
        if self._client is None:
            self._client, self._own = self._connect()
        return self._client

    def _workers(self) -> dict[str, str]:
        """Return the names of the workers by their addresses, and note which went away."""
        assert self._client is not None
        if time.monotonic() - self._looked < LOOK_SECONDS and self._seen:
            return self._seen
        self._looked = time.monotonic()
        if self._client.status not in ("running", "connecting"):
            raise WorkerError(f"the Dask scheduler of {self.name} is gone", "start it, and run the command again")
        found = self._client.scheduler_info(n_workers=-1)["workers"]
        here = {address: _name(address, info["name"]) for address, info in found.items()}
        self.lost += [name for address, name in self._seen.items() if address not in here]
        self._seen, self._hosts = here, [info["host"] for info in found.values()]
        self._say_alone()
        return here

    def _say_alone(self) -> None:
        """Say once that there is nobody to run anything, as long as nobody comes."""
        if self._seen:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > ALONE_SECONDS:
            self._alone_since = math.inf
            assert self._client is not None
            address = self._client.scheduler.address if self._client.scheduler else self.name
            what = "none is left" if self.lost else "none has joined"
            said = f"waiting for workers at {address}, {what} (`dask worker {address}` starts one)"
            warnings.warn(said, FeatxWarning, stacklevel=4)

    def _submit(self, client: Client, function: Callable[..., Any], arguments: tuple[Any, ...], **where: Any) -> Future:
        # Of its own name: Dask would take equal calls for one, whose result it may have.
        key = f"{function.__name__}-{secrets.token_hex(8)}"
        return client.submit(_call, function, arguments, self._run_id, key=key, pure=False, **where)

    def _result(self, future: Future) -> Any:
        from distributed import KilledWorker

        if future.status == "cancelled":
            raise WorkerError(f"the Dask scheduler of {self.name} dropped a call", "run the command again")
        error = future.exception()
        if isinstance(error, KilledWorker):
            raise WorkerError(
                f"{error.allowed_failures + 1} workers died of the same call, at last {error.last_worker.address}",
                "look at their logs; if they were killed for want of memory, use a smaller --batch-size",
            )
        return future.result()


def _call(function: Callable[..., Value], arguments: tuple[Any, ...], run: str) -> tuple[Value, str]:
    """Run a call in a thread of a Dask worker."""
    from distributed import get_worker

    me = get_worker()
    worker.prepare(_name(me.address, me.name), me.state.nthreads)
    return worker.call(function, arguments, run), worker.worker_name()


def _name(address: str, name: Any) -> str:
    """Return what a worker is called: its address, and its name where somebody gave it one."""
    return address if str(name) == address else f"{name} at {address}"


def _connected(address: str) -> tuple[Client, list[Any]]:
    distributed = _distributed()
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as exc:
        raise WorkerError(
            f"no Dask scheduler answers at {address[:200]} ({str(exc)[:200]})",
            "`dask scheduler` starts one and says its address, `dask worker ADDRESS` a worker",
        ) from exc
    return client, [client]


def _started(count: int) -> tuple[Client, list[Any]]:
    distributed = _distributed()
    cluster = distributed.LocalCluster(
        n_workers=count,
        threads_per_worker=threads_each(count),
        processes=True,
        dashboard_address=None,
        preload="featx.core.executors.dask_preload",
        silence_logs=logging.ERROR,  # a worker that is slow to end is nobody's business
    )
    client = distributed.Client(cluster, set_as_default=False)
    return client, [client, cluster]


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as exc:
        raise OptionError("a Dask cluster needs the package distributed", "pip install 'featx[dask]'") from exc
    return distributed
