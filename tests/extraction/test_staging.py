"""Images to a device and rows back: right however late the device works, and never waited for before it must be."""

from __future__ import annotations

import gc
import random
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from featx.core.device import memory_errors
from featx.core.specs import LayerSpec, PreprocessSpec
from featx.errors import OutOfMemoryError
from featx.extraction.forward import BatchSizeBackoff, Network, Normalize
from featx.extraction.staging import BUFFERS, Pending, Staging, in_turn
from featx.graph.placing import placed
from featx.models.backbones import resolve

CPU = torch.device("cpu")
SEEDS = range(40)
Images = npt.NDArray[np.uint8]


@dataclass(eq=False)
class LateEvent:
    """A mark that the device has reached, or not."""

    device: LateDevice
    reached: bool = False

    def synchronize(self) -> None:
        self.device.waits += 1
        while not self.reached:
            assert self.device.advance(), "the host waits for what never comes"


@dataclass(eq=False)
class LateStream:
    """Work in order, each piece with whether it can be done yet; the faster the pace, the sooner it is."""

    pace: int
    work: deque[tuple[Callable[[], bool], Callable[[], Any]]] = field(default_factory=deque)

    def add(self, do: Callable[[], Any]) -> None:
        self.work.append((lambda: True, do))

    def wait_event(self, event: LateEvent) -> None:
        self.work.append((lambda: event.reached, lambda: None))


class LateDevice:
    """A device made of the CPU's memory, whose streams work as late and in as wild an order as events allow.

    Parameters
    ----------
    seed : int, optional
        Of the order, of how much is done before the host waits for it, and of which stream is slow; None does nothing
        before.
    """

    device = CPU

    def __init__(self, seed: int | None = None) -> None:
        self.chance = random.Random(seed or 0)
        self.eager = 0.0 if seed is None else self.chance.choice([0.0, 0.1, 0.7])
        self.up, self.down, self.now = (LateStream(self.chance.choice([1, 1, 30])) for _ in range(3))
        self.waits, self.pinned_bytes, self.room = 0, 0, 1 << 30
        self.blocks: list[tuple[torch.Tensor, Any]] = []

    def advance(self) -> bool:
        """Do one piece of what could be done now."""
        able = [stream for stream in (self.up, self.down, self.now) if stream.work and stream.work[0][0]()]
        if not able:
            return False
        (quick,) = self.chance.choices(able, [stream.pace for stream in able])
        quick.work.popleft()[1]()
        return True

    def maybe_advance(self) -> None:
        while self.chance.random() < self.eager:
            self.advance()

    def current(self) -> LateStream:
        return self.now

    def mark(self, stream: LateStream) -> LateEvent:
        event = LateEvent(self)
        stream.add(lambda: setattr(event, "reached", True))
        self.maybe_advance()
        return event

    def copy(self, target: torch.Tensor, source: torch.Tensor, stream: LateStream) -> None:
        stream.add(lambda: target.copy_(source))
        self.maybe_advance()

    def pinned(self, size: int) -> torch.Tensor:
        self.pinned_bytes += size
        return torch.full((size,), 77, dtype=torch.uint8)

    def on_device(self, size: int) -> torch.Tensor:
        """Give memory that is no longer used at once to the next who asks, as a caching allocator does."""
        if size > self.room:
            raise torch.OutOfMemoryError(f"{size} bytes of {self.room}")
        free = [block for block, user in self.blocks if user() is None and len(block) >= size]
        block = free[0] if free else torch.full((max(size, 1 << 16),), 78, dtype=torch.uint8)
        given = block[:size]
        self.blocks = [(b, user) for b, user in self.blocks if b is not block] + [(block, weakref.ref(given))]
        return given

    def passing(self, views: list[torch.Tensor]) -> list[torch.Tensor]:
        """Give the current stream a pass: a row of sums an image and view, and one value of another layer."""
        n = len(views[0])
        wide, narrow = torch.full((n, 3), float("nan")), torch.full((n, 1), float("nan"))
        self.now.add(lambda: (wide.copy_(expected(views)[0]), narrow.copy_(expected(views)[1])))
        self.maybe_advance()
        return [wide, narrow]


def expected(views: list[torch.Tensor]) -> list[torch.Tensor]:
    wide = sum(view.float().sum((1, 2)) for view in views)
    assert isinstance(wide, torch.Tensor)
    return [wide, wide[:, :1] * 2]


def images(seed: int, n: int, px: int = 5) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (n, px, px, 3), np.uint8)


def begin(staging: Staging, device: LateDevice, views: list[Images]) -> Pending:
    with staging.sent(views) as sent:
        rows = device.passing(sent)
    return staging.fetch(rows)


def check(views: list[Images], rows: list[Any]) -> None:
    for found, right in zip(rows, expected([torch.from_numpy(view) for view in views]), strict=True):
        np.testing.assert_array_equal(found, right.numpy())


def batches(seed: int, count: int = 9) -> list[list[Images]]:
    """Draw batches of several sizes, some with two views: buffers are used again, too small, too large."""
    chance = random.Random(seed)
    drawn = ((chance.randint(1, 6), chance.randint(1, 2)) for _ in range(count))
    return [[images(100 * seed + i, n, 4 + view) for view in range(views)] for i, (n, views) in enumerate(drawn)]


def test_on_the_cpu_nothing_is_copied_and_nothing_comes_late() -> None:
    staging, pixels = Staging(CPU), images(0, 4)
    with staging.sent([pixels]) as (sent,):
        assert sent.data_ptr() == pixels.ctypes.data
        row = sent.float().mean((1, 2))
    (found,) = staging.fetch([row]).rows()
    assert found.ctypes.data == row.data_ptr()
    assert staging.ahead == 0


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_rows_are_right_in_whatever_order_the_device_works(seed: int | None) -> None:
    device = LateDevice(seed)
    staging, drawn = Staging(CPU, device), batches(seed or 0)

    def begun() -> Iterator[tuple[list[Images], Pending]]:
        for views in drawn:
            lent = [view.copy() for view in views]
            with staging.sent(lent) as sent:
                for view in lent:
                    view.fill(0)  # the caller may use its arrays again at once
                rows = device.passing(sent)
            yield views, staging.fetch(rows)

    count = 0
    for views, rows in in_turn(begun(), staging.ahead):
        check(views, rows)
        count += 1
    assert count == len(drawn)


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_may_be_taken_in_any_order_and_stay_the_callers(seed: int) -> None:
    device = LateDevice(seed)
    staging, drawn = Staging(CPU, device), batches(seed)
    pending = [begin(staging, device, views) for views in drawn]
    order = random.Random(seed).sample(range(len(drawn)), len(drawn))
    found = {i: pending[i].rows() for i in order[:5]}
    later = begin(staging, device, drawn[0])  # in buffers of rows that were taken
    check(drawn[0], later.rows())
    found |= {i: pending[i].rows() for i in order[5:]}
    for i, rows in found.items():
        check(drawn[i], rows)
        assert pending[i].rows() is rows


def test_the_host_waits_for_nothing_until_rows_are_taken() -> None:
    device = LateDevice()
    staging = Staging(CPU, device)
    one, other = (begin(staging, device, [images(i, 3)]) for i in range(2))
    assert device.waits == 0
    check([images(0, 3)], one.rows())
    assert device.waits == 1
    third = begin(staging, device, [images(2, 3)])
    assert device.waits == 2  # for the copy out of the first buffer, which ended before the first rows came
    for i, pending in ((1, other), (2, third)):
        check([images(i, 3)], pending.rows())


def test_a_pass_is_begun_before_the_rows_of_the_one_before_are_waited_for() -> None:
    device, begun = LateDevice(), []

    def begin_all(staging: Staging) -> Iterator[tuple[int, Pending]]:
        for i in range(4):
            begun.append(i)
            yield i, begin(staging, device, [images(i, 2)])

    staging = Staging(CPU, device)
    seen = [(i, len(begun)) for i, _ in in_turn(begin_all(staging), staging.ahead)]
    assert seen == [(0, 2), (1, 3), (2, 4), (3, 4)]


def test_a_few_buffers_serve_any_number_of_batches() -> None:
    device = LateDevice(1)
    staging, once = Staging(CPU, device), LateDevice()
    begin(Staging(CPU, once), once, [images(0, 4)])

    def begun() -> Iterator[tuple[int, Pending]]:
        for i in range(30):
            with suppress(KeyError), staging.sent([images(i, 4)]):
                raise KeyError
            yield i, begin(staging, device, [images(i, 4)])

    assert len(list(in_turn(begun(), staging.ahead))) == 30
    assert len(device.blocks) == BUFFERS
    assert device.pinned_bytes <= max(BUFFERS, staging.ahead + 1) * once.pinned_bytes


def test_rows_stay_on_the_device_until_they_have_arrived_and_no_longer() -> None:
    device = LateDevice()
    staging = Staging(CPU, device)
    with staging.sent([images(0, 2)]) as sent:
        rows = device.passing(sent)
    kept = weakref.ref(rows[0])
    pending = staging.fetch(rows)
    while device.advance():  # what was to be done holds them too
        pass
    del rows
    assert kept() is not None
    pending.rows()
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pass_that_fails_spoils_no_other(seed: int) -> None:
    device = LateDevice(seed)
    staging, drawn = Staging(CPU, device), batches(seed)
    before = begin(staging, device, drawn[0])
    for views in drawn[1:4]:
        with suppress(KeyError), staging.sent(views) as sent:
            device.passing(sent)
            raise KeyError
    after = begin(staging, device, drawn[4])
    check(drawn[4], after.rows())
    check(drawn[0], before.rows())


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_an_interrupted_loop_leaves_nothing_that_spoils_the_next(seed: int | None) -> None:
    device = LateDevice(seed)
    staging, drawn = Staging(CPU, device), batches(seed or 0)
    ended = []

    def begun() -> Iterator[tuple[int, Pending]]:
        try:
            for i, views in enumerate(drawn):
                yield i, begin(staging, device, views)
        finally:
            ended.append(True)

    loop = in_turn(begun(), staging.ahead)
    assert next(loop)[0] == 0
    loop.close()  # type: ignore[attr-defined]
    assert ended
    for (_, rows), views in zip(in_turn(begun(), staging.ahead), drawn, strict=True):
        check(views, rows)


@pytest.mark.parametrize("seed", SEEDS)
def test_where_memory_runs_out_the_halves_give_the_same_and_the_batch_before_is_not_lost(seed: int) -> None:
    device, room = LateDevice(seed), BatchSizeBackoff()
    staging, few, many = Staging(CPU, device), images(1, 2), images(2, 8)
    before = begin(staging, device, [few])
    device.room = 2 * 5 * 5 * 3 + 300  # of two images, and of none more
    found, at = [], 0
    while at < len(many):
        part = many[at : at + (room.images or len(many))]
        try:
            with memory_errors("the forward pass"):
                found.append(begin(staging, device, [part]))
            at += len(part)
        except OutOfMemoryError:
            staging.release()
            room.halve(len(part))
    assert [len(pending.rows()[0]) for pending in found] == [2, 2, 2, 2]
    check([many], [np.concatenate(rows) for rows in zip(*(pending.rows() for pending in found), strict=True)])
    check([few], before.rows())


@pytest.mark.parametrize("seed", SEEDS)
def test_release_waits_for_what_is_under_way_and_lets_the_buffers_go(seed: int) -> None:
    device = LateDevice(seed)
    staging = Staging(CPU, device)
    pending = [begin(staging, device, [images(i, 2)]) for i in range(3)]
    with staging.sent([images(3, 2)]) as sent:
        device.passing(sent)  # whose rows nobody fetches
    del sent
    staging.release()
    assert not any(stream.work for stream in (device.up, device.down, device.now))
    assert all(user() is None for _, user in device.blocks)
    for i, one in enumerate(pending):
        check([images(i, 2)], one.rows())


def test_what_was_begun_before_an_error_is_given_before_it() -> None:
    def begun() -> Iterator[tuple[int, Pending]]:
        for i in range(3):
            yield i, Pending(lambda i=i: [i])  # type: ignore[misc]
        raise KeyError("the fourth")

    seen: list[tuple[int, list[Any]]] = []
    with pytest.raises(KeyError, match="the fourth"):
        seen.extend(in_turn(begun(), 2))
    assert seen == [(0, [0]), (1, [1]), (2, [2])]


def test_rows_that_do_not_arrive_are_an_error_and_none_is_given_in_their_place() -> None:
    def fail() -> list[Any]:
        raise RuntimeError("the device is gone")

    seen: list[tuple[int, list[Any]]] = []
    with pytest.raises(RuntimeError, match="gone"):
        seen.extend(in_turn([(0, Pending(list)), (1, Pending(fail)), (2, Pending(list))], 1))
    assert seen == [(0, [])]


def test_buffers_made_in_inference_mode_serve_outside_of_it() -> None:
    device = LateDevice(3)
    staging = Staging(CPU, device)
    for i in range(6):
        with torch.inference_mode(i < 3), staging.sent([images(i, 3)]) as sent:
            rows = [*device.passing(sent), torch.tensor([i], dtype=torch.uint8)]
            *found, number = staging.fetch(rows).rows()
        check([images(i, 3)], found)
        assert number.tolist() == [i]


def test_rows_of_another_device_are_refused() -> None:
    for staging in (Staging(CPU), Staging(CPU, LateDevice())):
        with pytest.raises(ValueError, match="on meta, expected cpu"):
            staging.fetch([torch.empty(2), torch.empty(2, device="meta")])


class PretendedGPU(LateDevice):
    """A GPU whose tensors hold no values, but know where they are: to mix them with the CPU's is an error."""

    device = torch.device("cuda", 0)

    def copy(self, target: torch.Tensor, source: torch.Tensor, stream: LateStream) -> None:
        assert {target.device, source.device} == {CPU, self.device}
        target.copy_(source, non_blocking=True)

    def pinned(self, size: int) -> torch.Tensor:
        return torch.empty(size, dtype=torch.uint8)

    def on_device(self, size: int) -> torch.Tensor:
        return torch.empty(size, dtype=torch.uint8, device=self.device)


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16"])
def test_nothing_of_a_pass_on_a_gpu_is_left_on_the_cpu(name: str) -> None:
    backbone = resolve(name, weights="random:0", size=224)
    network = Network(backbone, (3, 224, 224))
    spec = LayerSpec.parse("avgpool" if name == "resnet18" else "encoder:cls")
    cut = network.traced.cut([spec], network.nodes, ())
    gpu = PretendedGPU()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        staging = Staging(gpu.device, gpu)
        module, normalize = placed(cut, gpu.device), Normalize(PreprocessSpec(224, 224)).to(gpu.device)
        with staging.sent([images(0, 2, 224)]) as (x,), torch.inference_mode():
            assert (x.device, x.dtype) == (gpu.device, torch.uint8)
            rows = module(normalize(x))
            assert [row.device for row in rows] == [gpu.device]
            with pytest.raises(RuntimeError, match="device"):
                normalize(x) + mode.from_tensor(torch.ones(1, 3, 224, 224))
        staging.fetch(rows)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_gives_the_rows_of_each_batch(name: str) -> None:
    staging = Staging(torch.device(name))
    assert staging.ahead == 1
    drawn = [[images(i, n, 64)] for i, n in enumerate([64, 64, 8, 128, 1, *[64] * 20])]

    def begun() -> Iterator[tuple[list[Images], Pending]]:
        for views in drawn:
            with staging.sent(views) as sent, torch.inference_mode():
                torch.cuda._sleep(2_000_000)  # so that the host runs ahead
                rows = expected(sent)
            yield views, staging.fetch(rows)

    for views, rows in in_turn(begun(), staging.ahead):
        check(views, rows)
    staging.release()
