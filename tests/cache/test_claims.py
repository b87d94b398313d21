"""Work shared out among processes: claims save it, and nothing depends on them."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_samples import Sample, in_child

from featx.cache.claims import Claims
from featx.cache.schema import fingerprint
from featx.cache.store import FeatureStore
from featx.cache.upkeep import in_use

HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
from store_samples import Sample
from featx.cache.store import FeatureStore
from featx.cache.upkeep import in_use
sample = Sample(20)
out = sample.writer(FeatureStore(sys.argv[2]))
print([out.claim(block) for block in (0, 2)], flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    """A process that has claimed blocks 0 and 2."""
    support = str(Path(__file__).parent.parent / "support")
    command = [sys.executable, "-c", HOLDER, support, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "[True, True]\n"
        yield process
        process.kill()


def test_what_another_process_claimed_is_left_to_it(tmp_path: Path, holder: Any) -> None:
    with Sample(20).writer(FeatureStore(tmp_path)) as out:
        assert [out.claim(block) for block in out.blocks()] == [False, True, False, True, True]


def test_a_claim_dies_with_its_process(tmp_path: Path, holder: Any) -> None:
    sample = Sample(20)
    out = sample.writer(FeatureStore(tmp_path))
    assert not out.claim(0)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert out.claim(0)
    sample.fill(out)
    assert np.array_equal(FeatureStore(tmp_path).open(sample.key).X, sample.X)


def test_a_claim_can_be_overridden(tmp_path: Path, holder: Any) -> None:
    with Sample(20).writer(FeatureStore(tmp_path)) as out:
        assert out.claim(0, force=True)


def test_a_key_that_is_worked_on_is_in_use(tmp_path: Path, holder: Any) -> None:
    store, sample = FeatureStore(tmp_path), Sample(20)
    assert in_use(store.folder(sample.key))
    holder.communicate("done\n")
    assert not in_use(store.folder(sample.key))


def test_finished_blocks_are_free_again(tmp_path: Path) -> None:
    sample = Sample(8)
    out = sample.writer(FeatureStore(tmp_path))
    assert all(map(out.claim, out.blocks()))
    sample.put(out, range(4))

    def work() -> None:
        other = sample.writer(FeatureStore(tmp_path))
        os._exit(int("".join("01"[other.claim(block)] for block in range(2)), 2))

    assert in_child(work) == 0b10
    out.close()
    assert in_child(work) == 0b11


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_grants_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(code, "no locks here")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    monkeypatch.setattr(fcntl, "flock", refuse)
    claims = Claims(tmp_path / "lock")
    assert claims.take(0)
    claims.drop(0)
    sample = Sample()
    sample.stored(tmp_path)
    assert np.array_equal(FeatureStore(tmp_path).open(sample.key).X, sample.X)


def test_a_block_waits_for_what_it_copies_from(tmp_path: Path) -> None:
    sample = Sample(8)
    sample.hashes[5] = sample.hashes[0]
    sample.X[5] = sample.X[0]
    sample.key = replace(sample.key, rows=fingerprint(sample.hashes))
    store = FeatureStore(tmp_path)
    out = sample.writer(store)
    assert not out.claim(1)
    assert out.claim(0)
    assert out.claim(1)
    sample.put(out, range(4))
    sample.put(out, [4, 6, 7])
    assert np.array_equal(store.open(sample.key).X, sample.X)


def test_a_shard_that_another_process_finished_meanwhile_may_still_be_put(tmp_path: Path) -> None:
    """Where locks are granted to everyone two processes gather the same shard, and the slower one goes on."""
    sample, store = Sample(12), FeatureStore(tmp_path)
    slow, quick = sample.writer(store), sample.writer(store)
    assert slow.claim(0)
    assert quick.claim(0, force=True)
    sample.put(quick, range(4))
    assert slow.claim(1)  # looks what is finished
    sample.put(slow, range(8))
    assert slow.missing() == [2]
    sample.fill(quick)
    assert np.array_equal(store.open(sample.key).X, sample.X)


def test_a_block_that_is_released_can_be_claimed_again(tmp_path: Path) -> None:
    sample, store = Sample(8), FeatureStore(tmp_path)
    out = sample.writer(store)
    assert out.claim(0)
    out.release(0)
    assert in_child(lambda: os._exit(sample.writer(store).claim(0))) == 1
    assert out.claim(1)
    sample.put(out, range(4, 8))
    assert out.missing() == [0]
