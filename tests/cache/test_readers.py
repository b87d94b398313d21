"""Valid files of a store changed at random, sealed again or not: an error of featx's own, or the right features."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forgeries
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_samples import Sample

from featx.cache import folder as folder_module
from featx.cache.folder import KeyFolder
from featx.cache.schema import seal
from featx.cache.store import FeatureStore
from featx.cache.verify import verify_key
from featx.errors import FeatxError

SAMPLE = Sample(n=5, columns=2, shard_rows=2, skipped={3: "torn"})
RIGHT = SAMPLE.X[SAMPLE.present]
FAST = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 9),
    st.sampled_from([2**31, 2**63, -(2**63), 2**64, 10**30, 10**4000, 0.0, -0.0, 0.5, 1e308, 1e-320, 1.0, 2.0]),
    st.sampled_from(["", "X", "../..", "\x1b[2J", "\0", "\udcff", "float16", "float32", "f" * 64, "0" * 64, "<f4"]),
    st.sampled_from([[], {}, [[]], [[0, "x"]], [[1, "x"]], {"": 1}, ["a"], [None]]),
)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("pristine")
    SAMPLE.stored(home)
    return home


@pytest.fixture(scope="module")
def home(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    patch = pytest.MonkeyPatch()
    patch.setattr(os, "fsync", lambda fd: None)
    yield tmp_path_factory.mktemp("home") / "store"
    patch.undo()


def fresh(pristine: Path, home: Path) -> Path:
    """Return the folder of the key in a copy of the store."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(pristine, home)
    return FeatureStore(home).folder(SAMPLE.key)


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value of a document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield (*above, name)
        yield from places(child, (*above, name))


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """Return a document of which a few values were replaced, removed, added, or swapped."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        ways = sorted(places(document), key=repr)
        if not ways:
            return copy.deepcopy(draw(ODD))
        *above, name = draw(st.sampled_from(ways))
        parent = document
        for step in above:
            parent = parent[step]
        how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "wrap", "text"]))
        if how == "replace":
            parent[name] = copy.deepcopy(draw(ODD))
        elif how == "remove":
            del parent[name]
        elif how == "add" and isinstance(parent, dict):
            parent[draw(st.sampled_from(["x", "check", "schema", "__class__", ""]))] = copy.deepcopy(draw(ODD))
        elif how == "wrap":
            parent[name] = [parent[name]]
        else:
            parent[name] = str(parent[name])
    return document


def refusal(work: Callable[[], Any]) -> None:
    """Run `work`, which may raise nothing but an error of featx's own that names a file and what mends it."""
    try:
        work()
    except FeatxError as exc:
        said = exc
    else:
        return
    assert "\n" not in said.message
    assert said.hint


def read(home: Path) -> None:
    """Read the key in every way: each gives what is right, or raises an error of featx's own."""
    store = FeatureStore(home)
    folder_module._checked.clear()
    for entry in store.ls():
        verify_key(KeyFolder(store.folder(entry.digest)), lambda n: None)
    for work in (_open, _lent, _resume):
        refusal(lambda work=work: work(store))  # type: ignore[misc]


def _open(store: FeatureStore) -> None:
    table = store.open(SAMPLE.key)
    assert np.asarray(table.X).tobytes() == RIGHT.tobytes()
    assert table.ids == [SAMPLE.ids[row] for row in SAMPLE.present]
    assert [row for row, _, _ in table.skipped] == [3]


def _lent(store: FeatureStore) -> None:
    sibling = Sample(n=4, columns=2, shard_rows=2)
    for reusable_rows in store.reuse_index().reusable(sibling.key, SAMPLE.hashes[:4]):
        rows, X = reusable_rows.read(0, 4)
        assert np.array_equal(X, SAMPLE.X[rows])


def _resume(store: FeatureStore) -> None:
    SAMPLE.fill(SAMPLE.writer(store))
    _open(store)


@pytest.mark.parametrize("name", ["key.json", "plan.json", "about.json", "ids.json", "shards/00001.json"])
def test_changed_documents_are_refused_or_read_aright(pristine: Path, home: Path, name: str) -> None:
    document = json.loads((FeatureStore(pristine).folder(SAMPLE.key) / name).read_bytes())

    @settings(FAST, max_examples=25)
    @given(changed(document))
    def attack(value: Any) -> None:
        path = fresh(pristine, home) / name
        path.write_text(json.dumps(value))
        read(home)

    attack()


@pytest.mark.parametrize("name", ["plan.json", "about.json", "shards/00001.json"])
def test_documents_changed_and_sealed_again_raise_nothing_but_featxs_errors(
    pristine: Path, home: Path, name: str
) -> None:
    """What is sealed may lie about its own values; it may not crash, or raise what nobody expects."""
    document = json.loads((FeatureStore(pristine).folder(SAMPLE.key) / name).read_bytes())
    document.pop("check")

    @settings(FAST, max_examples=25)
    @given(changed(document))
    def attack(value: Any) -> None:
        path = fresh(pristine, home) / name
        path.write_text(json.dumps(seal(value) if isinstance(value, dict) else value))
        store = FeatureStore(home)
        folder_module._checked.clear()
        store.ls()
        verify_key(KeyFolder(path.parent if name.count("/") == 0 else path.parent.parent), lambda n: None)
        refusal(lambda: np.asarray(store.open(SAMPLE.key).X))
        refusal(lambda: SAMPLE.fill(SAMPLE.writer(store)))

    attack()


def test_a_key_changed_and_named_anew_raises_nothing_but_featxs_errors(pristine: Path, home: Path) -> None:
    document = json.loads((FeatureStore(pristine).folder(SAMPLE.key) / "key.json").read_bytes())

    @settings(FAST, max_examples=25)
    @given(changed(document))
    def attack(value: Any) -> None:
        path = fresh(pristine, home)
        forgeries.forge(path, lambda p, _: (p / "key.json").write_text(json.dumps(value)) and None, None)  # type: ignore[arg-type]
        store = FeatureStore(home)
        for entry in store.ls():
            verify_key(KeyFolder(store.folder(entry.digest)), lambda n: None)
            refusal(lambda entry=entry: np.asarray(store.open(entry.digest).X))  # type: ignore[misc]
        store.reuse_index().reusable(SAMPLE.key, SAMPLE.hashes)

    attack()


@settings(FAST, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2300), st.integers(0, 255)), min_size=1, max_size=8), st.integers(0, 2300))
def test_hdf5_changed_under_a_right_hash_is_never_more_than_a_fault(
    pristine: Path, home: Path, spots: list[tuple[int, int]], cut: int
) -> None:
    path = fresh(pristine, home)
    shard = next((path / "shards").glob("00000-*.h5"))
    data = bytearray(shard.read_bytes())
    for at, value in spots:
        data[at % len(data)] = value
    put = bytes(data if cut > 1000 else data[: len(data) - cut])
    try:
        forgeries.put_shard(path, put)
        found = verify_key(KeyFolder(path), lambda n: None)
    except FeatxError:
        return
    if not found.faults:  # only rows, or bytes that mean nothing, were changed
        X = np.asarray(FeatureStore(home).open(SAMPLE.key).X)
        assert X.shape == RIGHT.shape
        assert X[2:].tobytes() == RIGHT[2:].tobytes()
