"""Batches come in the order asked, whatever the threads do."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.core.specs import PreprocessSpec, Views
from featx.data.arrays import ArraySource
from featx.data.batch_loader import image_shape, load_batches
from featx.data.decoding import prepare
from featx.data.sources import load_source
from featx.errors import FeatxWarning, ImageError, OutOfMemoryError, SourceError

SPEC = PreprocessSpec(10, 8)
SHAPE = (3, 8, 8)


def in_batches(rows: Any, size: int) -> list[Any]:
    return [np.array(rows[i : i + size], np.int64) for i in range(0, len(rows), size)]


@pytest.fixture
def source() -> ArraySource:
    return ArraySource(np.random.default_rng(0).integers(0, 256, (30, 12, 11, 3), np.uint8))


@pytest.mark.parametrize("workers", [None, 0, 1, 2, 7])
@pytest.mark.parametrize("size", [1, 7, 30, 100])
def test_every_row_comes_once_in_the_order_asked(source: ArraySource, workers: int | None, size: int) -> None:
    rows = np.random.default_rng(1).permutation(30)
    batches = list(load_batches(source, in_batches(rows, size), SPEC, SHAPE, workers=workers))
    assert [len(batch.rows) for batch in batches] == [len(some) for some in in_batches(rows, size)]
    assert np.concatenate([batch.rows for batch in batches]).tolist() == rows.tolist()
    pixels = np.concatenate([batch.pixels for batch in batches])
    for row, image in zip(rows, pixels, strict=True):
        np.testing.assert_array_equal(image, prepare(source[row][0], SPEC, "x"))


def test_slow_images_do_not_overtake(source: ArraySource) -> None:
    class Slow(ArraySource):
        def __getitem__(self, i: int) -> Any:
            time.sleep(0.02 if i % 4 == 0 else 0)
            return super().__getitem__(i)

    batches = list(load_batches(Slow(source.images), in_batches(range(30), 2), SPEC, SHAPE, workers=4))
    assert np.concatenate([batch.rows for batch in batches]).tolist() == list(range(30))


def test_only_a_few_batches_are_decoded_ahead(source: ArraySource) -> None:
    asked = []

    def batches() -> Any:
        for some in in_batches(range(30), 1):
            asked.append(some)
            yield some

    loaded = load_batches(source, batches(), SPEC, SHAPE, workers=2)
    next(loaded)
    assert len(asked) <= 4, "a billion images must not be queued at once"
    loaded.close()


def test_stopping_early_leaves_no_thread_behind(source: ArraySource) -> None:
    loaded = load_batches(source, in_batches(range(30), 1), SPEC, SHAPE, workers=3)
    next(loaded)
    loaded.close()
    deadline = time.monotonic() + 5
    while any(t.name.startswith("featx-decode") for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [t for t in threading.enumerate() if t.name.startswith("featx-decode")]


def test_no_batches_give_no_batches(source: ArraySource) -> None:
    assert list(load_batches(source, [], SPEC, SHAPE)) == []


@pytest.fixture
def broken(pets: Path) -> Path:
    (pets / "cat/2.png").write_bytes(b"not an image")
    (pets / "dog/1.png").write_bytes(b"")
    return pets


@pytest.mark.parametrize("workers", [1, 3])
def test_a_bad_image_is_raised_by_name(broken: Path, workers: int) -> None:
    with pytest.raises(ImageError, match=r"image cat/2\.png cannot be decoded"):
        list(load_batches(load_source(broken), in_batches(range(10), 3), SPEC, SHAPE, workers=workers))


def test_batches_before_the_bad_image_are_delivered(broken: Path) -> None:
    loaded = load_batches(load_source(broken), in_batches(range(10), 1), SPEC, SHAPE, workers=2)
    assert [next(loaded).rows.tolist() for _ in range(2)] == [[0], [1]]
    with pytest.raises(ImageError):
        next(loaded)


@pytest.mark.parametrize("workers", [1, 3])
def test_skipped_images_are_listed_with_row_and_reason_and_left_black(broken: Path, workers: int) -> None:
    source = load_source(broken)
    batches = list(load_batches(source, in_batches(range(10), 3), SPEC, SHAPE, workers=workers, on_error="skip"))
    skipped = dict(pair for batch in batches for pair in batch.skipped)
    assert sorted(skipped) == [2, 7]
    assert "cat/2.png" in skipped[2]
    assert "dog/1.png is empty" in skipped[7]
    pixels = np.concatenate([batch.pixels for batch in batches])
    assert len(pixels) == 10
    assert [not image.any() for image in pixels] == [row in skipped for row in range(10)]


def test_an_image_that_changed_is_never_skipped(pets: Path, png: Any) -> None:
    source = load_source(pets)
    source.row_hashes()
    (pets / "cat/2.png").write_bytes(png(1234))
    with pytest.raises(SourceError, match="changed while"):
        list(load_batches(source, in_batches(range(10), 3), SPEC, SHAPE, on_error="skip"))


def test_a_link_out_of_the_folder_is_skipped_like_a_bad_image(pets: Path, tmp_path: Path, png: Any) -> None:
    (tmp_path / "secret.png").write_bytes(png(5))
    (pets / "cat/0.png").unlink()
    (pets / "cat/0.png").symlink_to(tmp_path / "secret.png")
    source = load_source(pets)
    source.fingerprint()
    batches = list(load_batches(source, in_batches(range(10), 5), SPEC, SHAPE, on_error="skip"))
    assert [row for row, _ in batches[0].skipped] == [0]
    assert not batches[0].pixels[0].any()


def test_without_a_size_all_images_must_have_the_first_ones(pets: Path, png: Any) -> None:
    (pets / "dog/0.png").write_bytes(png(1, 20, 10))
    source, spec = load_source(pets), PreprocessSpec(None, None)
    shape = image_shape(source, spec)
    assert shape == (3, 10, 12)
    with pytest.raises(ImageError, match=r"image dog/0\.png has 10 x 20 px, the first one 10 x 12") as caught:
        list(load_batches(source, in_batches(range(10), 4), spec, shape))
    assert "size=" in caught.value.hint
    skipped = [
        s for b in load_batches(source, in_batches(range(10), 4), spec, shape, on_error="skip") for s in b.skipped
    ]
    assert [row for row, _ in skipped] == [6]


def test_the_shape_is_the_specs_or_the_first_good_images(broken: Path, png: Any) -> None:
    (broken / "cat/0.png").write_bytes(b"")
    source = load_source(broken)
    assert image_shape(source, SPEC) == SHAPE
    assert image_shape(source, PreprocessSpec(None, None)) == (3, 10, 12)
    assert image_shape(source, PreprocessSpec(None, None, 1, mean=(0.0,), std=(1.0,))) == (1, 10, 12)
    assert image_shape(source, PreprocessSpec(5, None)) == (3, 5, 6)


def test_no_good_image_has_no_shape(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/1.png").write_bytes(b"")
    with pytest.raises(ImageError, match="none of the images can be decoded"):
        image_shape(load_source(tmp_path), PreprocessSpec(None, None))


class Counted(ArraySource):
    """Counts how often an image is asked for."""

    asked = 0

    def __getitem__(self, i: int) -> Any:
        self.asked += 1
        return super().__getitem__(i)


def test_the_first_image_is_looked_at_once_for_each_preprocessing() -> None:
    source = Counted(np.zeros((3, 6, 4, 3), np.uint8))
    for spec, shape in ((PreprocessSpec(None, None), (3, 6, 4)), (PreprocessSpec(8, None), (3, 12, 8))):
        before = source.asked
        assert [image_shape(source, spec) for _ in range(4)] == [shape] * 4
        assert source.asked == before + 1
    image_shape(source, SPEC)
    assert source.asked == 2, "a spec that says the size needs no image"


def test_other_rows_have_a_shape_of_their_own(pets: Path, png: Any) -> None:
    (pets / "dog/0.png").write_bytes(png(1, 20, 10))
    source, spec = load_source(pets), PreprocessSpec(None, None)
    assert image_shape(source, spec) == (3, 10, 12)
    assert image_shape(source.subset(np.array([6, 0])), spec) == (3, 10, 20)
    assert image_shape(source, spec) == (3, 10, 12)


def test_a_source_that_cannot_be_remembered_has_a_shape_too() -> None:
    class Unhashable(Counted):
        __hash__ = None  # type: ignore[assignment]

    source = Unhashable(np.zeros((3, 6, 4, 3), np.uint8))
    assert [image_shape(source, PreprocessSpec(None, None)) for _ in range(2)] == [(3, 6, 4)] * 2


def test_shapes_are_forgotten_with_their_source() -> None:
    source = Counted(np.zeros((3, 6, 4, 3), np.uint8))
    image_shape(source, PreprocessSpec(None, None))
    alive = weakref.ref(source)
    del source
    gc.collect()
    assert alive() is None


def test_a_failure_is_not_taken_for_a_shape(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/1.png").write_bytes(b"")
    source, spec = load_source(tmp_path), PreprocessSpec(None, None)
    for _ in range(2):
        with pytest.raises(ImageError, match="none of the images can be decoded"):
            image_shape(source, spec)


def test_grey_batches_have_one_channel() -> None:
    grey = ArraySource(np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8))
    spec = PreprocessSpec(None, None, 1, mean=(0.0,), std=(1.0,))
    (batch,) = load_batches(grey, [np.arange(2)], spec, (1, 8, 8))
    np.testing.assert_array_equal(batch.pixels, grey.images)


class Sick(ArraySource):
    """Fails at one image, as it is told."""

    error: BaseException

    def __getitem__(self, i: int) -> Any:
        if i == 5:
            raise self.error
        return super().__getitem__(i)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), OutOfMemoryError),
        (RecursionError("too\ndeep"), SourceError),
        (SystemExit(3), SourceError),
        (KeyboardInterrupt(), SourceError),
        (ValueError("odd"), SourceError),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_thread_dies_of_names_the_image_in_one_line(
    source: ArraySource, error: BaseException, kind: type[Exception], on_error: str
) -> None:
    sick = Sick(source.images)
    sick.error = error
    began = time.monotonic()
    with pytest.raises(kind, match=f"image {source.ids[5]} ") as caught:
        list(load_batches(sick, in_batches(range(10), 2), SPEC, SHAPE, workers=2, on_error=on_error))
    assert time.monotonic() - began < 10
    assert "\n" not in str(caught.value)


def test_an_image_that_hangs_is_named_while_it_does(source: ArraySource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.data.batch_loader.SLOW_SECONDS", 0.2)
    go = threading.Event()

    class Stuck(ArraySource):
        def __getitem__(self, i: int) -> Any:
            if i == 3:
                go.wait(30)
            return super().__getitem__(i)

    loaded = load_batches(Stuck(source.images), in_batches(range(8), 2), SPEC, SHAPE, workers=1)
    next(loaded)
    threading.Timer(1, go.set).start()
    with pytest.warns(FeatxWarning, match=f"image {source.ids[3]} has been loading for 0.2 s") as told:
        batch = next(loaded)
    assert len(told) == 1
    np.testing.assert_array_equal(batch.pixels[1], prepare(source[3][0], SPEC, "x"))
    assert len(list(loaded)) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_threads_decode_than_were_asked_for(source: ArraySource, workers: int) -> None:
    inside, most = set(), []

    class Watched(ArraySource):
        def __getitem__(self, i: int) -> Any:
            inside.add(i)
            most.append(len(inside))
            time.sleep(0.005)
            inside.discard(i)
            return super().__getitem__(i)

    list(load_batches(Watched(source.images), in_batches(range(30), 2), SPEC, SHAPE, workers=workers))
    assert max(most) == workers


def test_every_view_of_a_batch_has_an_array_of_its_own(source: ArraySource) -> None:
    spec = PreprocessSpec(10, 8, views=Views(5, scales=(1, 2)))
    (batch,) = load_batches(source, [np.arange(3)], spec, SHAPE)
    assert [view.shape for view in batch.views] == [(3, 8, 8, 3)] * 5 + [(3, 16, 16, 3)] * 5
    np.testing.assert_array_equal(batch.views[0][2], prepare(source[2][0], SPEC, "x"))


def test_skipped_images_are_black_in_every_view(broken: Path) -> None:
    spec = PreprocessSpec(10, 8, views=Views(5))
    (batch,) = load_batches(load_source(broken), [np.arange(4)], spec, SHAPE, on_error="skip")
    assert [[bool(image.any()) for image in view] for view in batch.views] == [[True, True, False, True]] * 5


def test_an_image_that_finds_no_memory_is_not_skipped(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(image: Any) -> Any:
        raise MemoryError

    source = load_source(pets)
    monkeypatch.setattr("featx.data.decoding._to_rgb", full)
    with pytest.raises(OutOfMemoryError, match=r"image cat/0\.png"):
        list(load_batches(source, in_batches(range(10), 5), SPEC, SHAPE, on_error="skip"))


class Watched(ArraySource):
    """Images that note when they are read, and may make the reader wait."""

    def __init__(self, n: int, seconds: float = 0.0) -> None:
        super().__init__(np.zeros((n, 4, 4, 3), np.uint8))
        self.reads: list[int] = []
        self.seconds = seconds

    def __getitem__(self, i: int) -> Any:
        self.reads.append(i)
        time.sleep(self.seconds)
        end = time.thread_time() + 0.002
        while not self.seconds and time.thread_time() < end:
            pass
        return super().__getitem__(i)


def read_at_each_batch(source: Watched, *, bursts: bool) -> list[int]:
    """Return how many images were read when each batch of two came, given time to read on."""
    batches = np.split(np.arange(len(source)), range(2, len(source), 2))
    counts = []
    for _ in load_batches(source, batches, SPEC, SHAPE, workers=2, bursts=bursts):
        time.sleep(0.1)
        counts.append(len(source.reads))
    return counts


def test_in_bursts_nothing_is_decoded_while_a_batch_is_worked_on() -> None:
    assert read_at_each_batch(Watched(12), bursts=True) == [4, 4, 8, 8, 12, 12]
    assert read_at_each_batch(Watched(12), bursts=False)[0] > 4


def test_what_waits_for_a_disk_is_read_ahead_all_the_same() -> None:
    counts = read_at_each_batch(Watched(12, seconds=0.02), bursts=True)
    assert counts[0] == 4
    assert counts[1] > 4
    assert counts[-1] == 12


def test_bursts_give_the_same_batches() -> None:
    batches = np.split(np.arange(11), range(3, 11, 3))
    for bursts in (False, True):
        found = list(load_batches(Watched(11), batches, SPEC, SHAPE, workers=3, bursts=bursts))
        assert [batch.rows.tolist() for batch in found] == [rows.tolist() for rows in batches]
