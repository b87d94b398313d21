"""Networks that torch.fx cannot trace, read by hooks on their modules."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from featx.core.specs import LayerSpec
from featx.errors import FeatureError, OptionError, first_few
from featx.graph.hooks import Read, Record, hooked, watch
from featx.graph.pooling import pool
from featx.graph.readable import Readable, check_name, fed_by_nothing, last_in_space, no_block
from featx.graph.shapes import NodeInfo, Nodes, device_of, noise, reason, space_of
from featx.graph.traced import Traced
from featx.graph.tracing import UntraceableError, with_containers


def read_network(module: nn.Module, left_out: tuple[str, ...] = ()) -> Readable:
    """Return a network's graph, or, where torch.fx cannot trace it, what hooks on its modules can read.

    Parameters
    ----------
    module, left_out : nn.Module, tuple of str
        As `Traced`.

    Raises
    ------
    UntraceableError
        For a network that cannot be traced and has no modules.
    OptionError
        For one that cannot be traced and has modules of TorchScript.
    """
    try:
        return Traced(module, left_out)
    except UntraceableError:
        if next(module.children(), None) is None:
            raise
        return Hooked(module, left_out)


class Hooked(Readable):
    """A network read by hooks: a module path means what the module gives, ``PATH.input`` what it is given.

    The latter are there where no module gives the same values. Of several tensors the first is meant;
    ``PATH.KEY`` names each. ``output`` is what the network returns.

    Parameters
    ----------
    module : nn.Module
        In eval mode. It is not changed, but runs in what `cut` returns.
    left_out : tuple of str
        Modules whose weights are missing: what ends after one of them began is not offered.

    Raises
    ------
    OptionError
        For a network with modules of TorchScript: they take no hooks.
    """

    def __init__(self, module: nn.Module, left_out: tuple[str, ...] = ()) -> None:
        scripted = [path for path, child in module.named_modules() if isinstance(child, torch.jit.ScriptModule)]
        if scripted:
            raise OptionError(
                f"{type(module).__name__} is to be read by hooks, which modules of TorchScript cannot have: "
                f"{first_few(scripted)}",
                "give it as it was before torch.jit",
            )
        self.module = module
        self.note = (
            f"{type(module).__name__} cannot be traced by torch.fx: its modules are read by hooks, and operations "
            "between them have no names"
        )
        self._left_out = left_out
        self._paths = dict.fromkeys(path for path, _ in module.named_modules() if path)
        self._settle(None)

    def names(self) -> list[str]:
        """Return the names of the nodes and module paths, in the order in which they run."""
        return list(self._names)

    def check(self, name: str) -> None:
        """Raise OptionError, with the nearest names, for a name that means no node."""
        check_name(name, self._names, self._lost)

    def before(self, head: str) -> str:
        """Return the node whose values a module takes; see `Readable.before`."""
        within = [path for path in self._seen.given if f"{path}.".startswith(f"{head}.")]
        name = self._seen.given[within[0]] if within else ""
        if name not in self._seen.seen:
            raise fed_by_nothing(head)
        return name

    def ends_with(self, head: str) -> bool:
        """Tell whether what a module gives is what the network returns, unchanged."""
        return head in self._seen.returned

    def base(self, head: str, nodes: Nodes) -> str:
        """Return where the convolutional base ends; see `Readable.base`."""
        began = self._seen.began.get(head)
        before = [name for name, value in self._seen.seen.items() if began and value.at <= began[0]]
        return last_in_space(before, nodes)

    def ran_before(self, block: str) -> set[str]:
        """Return what runs before a block, and not again from there on; see `Readable.ran_before`."""
        record = self._seen
        starts = [times[0] for path, times in record.began.items() if f"{path}.".startswith(f"{block}.")]
        if not starts:
            raise no_block(block, self.names())
        at = min(starts)
        modules = {path for path, times in record.ended.items() if path and times[-1] < at}
        return modules | {name for name, times in record.used.items() if times[-1] < at}

    def until(self, name: str) -> HookedBase:
        """Return the network without what runs later, its modules and weights shared, that gives a value."""
        value = self._seen.seen[self._real[name]]
        late = {path for path, times in self._seen.began.items() if times[0] > value.at}
        # Only what holds a late module is copied: all else stays the same object, as when a graph is cut.
        whole = [m for path, m in self.module.named_modules() if not any(_is_within(p, path) for p in late)]
        shared = (*whole, *self.module.parameters(), *self.module.buffers())
        base = copy.deepcopy(self.module, {id(thing): thing for thing in shared})
        for path in late:
            if not any(path != outer and _is_within(path, outer) for outer in late):
                base.set_submodule(path, nn.Identity())
        times = self._seen.began if value.read.given else self._seen.ended
        return HookedBase(base, value.read, len(times[value.read.path]))

    def describe(self, input_shape: tuple[int, int, int], *, whole: bool = True) -> Nodes:
        """Return what each module gives, found by running the network on two images of noise; see `Readable`."""
        channels, height, width = input_shape
        device = device_of(self.module)
        record = watch(self.module, noise(input_shape, device))
        if self._record is None or self._record.failure is not None or record.failure is None:
            self._settle(record)  # a run to the end tells the most
        larger = watch(self.module, noise((channels, height + 64, width + 64), device)).seen
        found = Nodes()
        for name, real in self._real_names(record).items():
            value = record.seen[real]
            big = larger[real].shape if real in larger else None
            layout, grows = space_of(value.shape, big, height == width)
            if layout == "NLC" and value.shape[1:] == (1,):  # pooled over a length: no tokens of one value
                layout = "NCL"
            found[name] = NodeInfo(name, value.shape, layout, value.macs, value.token, grows)
        if record.failure is not None:
            found.unfit = f"the network cannot take {height} x {width} px: {reason(record.failure)}"
            found.unreached = frozenset({*self._names} - {*found})
            if whole or not found:
                raise OptionError(found.unfit, "give another --size") from record.failure
        return found

    def cut(
        self, specs: Sequence[LayerSpec], nodes: Nodes, keep: Sequence[LayerSpec] = (), fused: str | None = None
    ) -> nn.Module:
        """Return the network with hooks that pool, put on for each pass and taken off after it; see `Readable`.

        Each activation is pooled, into memory of its own, as soon as its module has run: a later in-place operation
        cannot overwrite it. `keep` and `fused` have no effect, since nothing is folded.
        """
        for spec in specs:
            self.columns(spec, nodes)
        reads = {spec: self._seen.seen[self._real[spec.node]].read for spec in specs}
        # The network ends by itself, unless it cannot: then as soon as all is there.
        counts = {path: len(times) for path, times in self._seen.ended.items()} if nodes.unfit else None
        layouts = {spec: nodes[spec.node].layout for spec in specs}
        return HookedRows(self.module, [(spec, reads[spec], layouts[spec]) for spec in specs], counts)

    @property
    def _seen(self) -> Record:
        assert self._record is not None, "a network is described first"
        return self._record

    def _settle(self, record: Record | None) -> None:
        """Let a run, or none yet, say which names there are, which have no weights, and what they mean."""
        self._record = record
        self._lost = set(self._left_out) if record is None else self._lost_in(record)
        self._real = {} if record is None else self._real_names(record)
        known = {*self._real, *self._lost}
        self._names = [*self._real, *(path for path in self._paths if path not in known)]

    def _real_names(self, record: Record) -> dict[str, str]:
        """Return the name of the value that each name means: containers mean what ran last in them."""
        seen = [name for name in record.seen if name not in self._lost]
        # Keys are no containers: what there is of several values has its own name.
        return {path: name for path, name in with_containers(seen) if path == name or path in self._paths}

    def _lost_in(self, record: Record) -> set[str]:
        """Return the names of what a module without weights had a part in."""
        began = [times[0] for path in self._left_out if (times := record.began.get(path))]
        return {name for name, value in record.seen.items() if began and value.at > min(began)}


def _is_within(path: str, outer: str) -> bool:
    return not outer or f"{path}.".startswith(f"{outer}.")


class HookedRows(nn.Module):
    """A network that gives a (n, columns) tensor for each wanted layer.

    Parameters
    ----------
    network : nn.Module
        Runs whole, unless `counts` says how often each module ran before it failed.
    reads : sequence of (LayerSpec, Read, layout)
        Wanted.
    """

    def __init__(
        self, network: nn.Module, reads: Sequence[tuple[LayerSpec, Read, str]], counts: Mapping[str, int] | None
    ) -> None:
        super().__init__()
        self.network = network
        self._reads, self._counts = list(reads), counts

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return one (n, columns) tensor per spec for images of shape (n, C, H, W)."""
        rows: dict[LayerSpec, torch.Tensor] = {}
        left = {read.path: self._counts[read.path] for _, read, _ in self._reads if self._counts and not read.given}

        def take(given: bool, path: str, value: Any) -> None:
            for spec, read, layout in self._reads:
                if (read.path, read.given) == (path, given) and (tensor := read.of(value)) is not None:
                    rows[spec] = pool(tensor, spec.pool, spec.grid, layout)
            if not given and path in left:
                left[path] -= 1
            if self._counts is not None and len(rows) == len(self._reads) and not any(left.values()):
                raise _EnoughError

        def before(path: str, module: nn.Module, args: Any, kwargs: Any) -> None:
            take(True, path, (args, kwargs))

        def after(path: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            take(False, path, output)

        paths = {read.path for _, read, _ in self._reads}
        with _until_enough(), hooked(self.network, before, after, paths):
            self.network(x)
        lost = [str(spec) for spec, _, _ in self._reads if spec not in rows or rows[spec].shape[0] != x.shape[0]]
        if lost:
            raise FeatureError(
                f"layer {first_few(lost)} was not run once an image: the network goes another way for these images",
                "take a layer that always runs",
            )
        return tuple(rows[spec] for spec, _, _ in self._reads)


class HookedBase:
    """The part of a network before a value, called as a function.

    Parameters
    ----------
    network : nn.Module
        Without what runs later.
    read, count : Read, int
        Which value, and the how manieth time that its module runs.
    """

    def __init__(self, network: nn.Module, read: Read, count: int) -> None:
        self.network, self._read, self._count = network, read, count

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        found: list[torch.Tensor] = []

        def take(value: Any) -> None:
            if (tensor := self._read.of(value)) is not None:
                found.append(tensor)
            if len(found) == self._count:
                raise _EnoughError

        def before(path: str, module: nn.Module, args: Any, kwargs: Any) -> None:
            take((args, kwargs))

        def after(path: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            take(output)

        hooks = (before, None) if self._read.given else (None, after)
        with _until_enough(), hooked(self.network, hooks[0], hooks[1], {self._read.path}):
            self.network(x)
        if not found:
            raise FeatureError(f"module {self._read.path} was not run for these images", "take another --head")
        return found[-1]


class _EnoughError(Exception):
    """All that is wanted is there."""


@contextlib.contextmanager
def _until_enough() -> Iterator[None]:
    """Run a user's network until all is there; what it prints is no result."""
    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(_EnoughError):
        yield
