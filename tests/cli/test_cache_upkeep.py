"""``featx cache verify``, ``gc``, ``merge`` and ``info --why`` as a user calls them."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import click
import pytest
from locks import held
from programs import PROGRAM, store_features

from featx.cache.store import FeatureStore
from featx.cli.cache import COMMANDS, cache

DAY = 86_400


def shard_of(home: Path, digest: str) -> Path:
    return min((FeatureStore(home).folder(digest) / "shards").glob("*.h5"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def used(home: Path, digest: str, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(FeatureStore(home).folder(digest) / "used", (then, then))


def left(home: Path) -> set[str]:
    return {entry.digest for entry in FeatureStore(home).ls()}


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_list_says_what_each_command_says_of_itself(name: str) -> None:
    command = cache.get_command(click.Context(cache), name)
    assert command is not None
    assert command.name == name
    assert (command.help or "").splitlines()[0] == COMMANDS[name][2]


def test_verify_of_a_sound_store(featx: Any, featx_json: Any, stored: dict[str, str], home: Path) -> None:
    result = featx("cache", "verify")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == f"checked 2 entries, 3 shards in {home}: no faults"
    code, document = featx_json("cache", "verify", stored["layer3:avg"][:8])
    assert code == 0
    assert (document["checked"], document["shards"], document["corrupt"]) == (1, 2, [])


def test_verify_of_an_empty_store_makes_nothing(featx: Any, home: Path) -> None:
    assert featx("cache", "verify", "--repair").exit_code == 0
    assert not home.exists()


def test_verify_goes_through_all_and_exits_with_4(
    featx: Any, featx_json: Any, stored: dict[str, str], home: Path
) -> None:
    paths = [shard_of(home, digest) for digest in stored.values()]
    for path in paths:
        flip(path)
    code, document = featx_json("cache", "verify")
    assert code == 4
    assert {item["path"] for item in document["corrupt"]} == set(map(str, paths))
    assert all("SHA-256" in item["reason"] for item in document["corrupt"])
    result = featx("cache", "verify")
    assert result.exit_code == 4
    assert "--repair" in result.stderr
    assert all(path.exists() for path in paths)


def test_verify_repair_drops_and_says_what_computes_it_again(
    featx: Any, featx_json: Any, stored: dict[str, str], home: Path
) -> None:
    digest = stored["layer3:avg"]
    path = shard_of(home, digest)
    flip(path)
    code, document = featx_json("cache", "verify", "--repair", "--dry-run")
    assert code == 4
    assert len(document["removed"]) == 2
    assert path.exists()
    result = featx("cache", "verify", "--repair")
    assert result.exit_code == 0
    assert "removed 2 files" in result.stdout
    command = next(line for line in result.stdout.splitlines() if line.startswith("`")).split("`")[1]
    assert command == "featx extract digits --split train -b resnet18 --weights random:0 -l layer3:avg"
    assert not path.exists()
    assert featx("cache", "verify").exit_code == 0
    assert left(home) == set(stored.values())


def test_verify_repair_says_when_a_whole_folder_goes(featx: Any, stored: dict[str, str], home: Path) -> None:
    (FeatureStore(home).folder(stored["layer4"]) / "plan.json").write_text("{}")
    result = featx("cache", "verify", "--repair")
    assert result.exit_code == 0
    assert f"removed all of {stored['layer4'][:12]}" in result.stdout
    assert left(home) == {stored["layer3:avg"]}


def test_verify_dry_run_needs_repair(featx: Any) -> None:
    assert featx("cache", "verify", "--dry-run").exit_code == 2


def test_verify_shows_no_control_characters_of_strays(featx: Any, stored: dict[str, str], home: Path) -> None:
    (FeatureStore(home).folder(stored["layer4"]) / "evil\x1b[31m\nname").touch()
    result = featx("cache", "verify")
    assert result.exit_code == 0
    assert "evil" in result.stdout
    assert "\x1b" not in result.stdout


def test_gc_removes_the_least_recently_used_until_it_fits(
    featx: Any, featx_json: Any, stored: dict[str, str], home: Path
) -> None:
    old, new = stored["layer3:avg"], stored["layer4"]
    used(home, old, 3)
    used(home, new, 1)
    size = {entry.digest: entry.bytes for entry in FeatureStore(home).ls()}
    code, document = featx_json("cache", "gc", "--max-size", size[new] + 1, "--dry-run")
    assert code == 0
    assert [item["digest"] for item in document["removed"]] == [old]
    assert document["stay"] == [new]
    assert left(home) == {old, new}
    result = featx("cache", "gc", "--max-size", size[new] + 1, "--yes")
    assert f"removed {old[:12]} (digits train resnet18 layer3:avg)" in result.stdout
    assert "used 3 d ago" in result.stdout
    assert left(home) == {new}


def test_gc_removes_what_is_older(featx: Any, stored: dict[str, str], home: Path) -> None:
    used(home, stored["layer4"], 31)
    used(home, stored["layer3:avg"], 29)
    assert featx("cache", "gc", "--older-than", "30d", "--yes").exit_code == 0
    assert left(home) == {stored["layer3:avg"]}
    assert "1 entry, " in featx("cache", "gc", "--older-than", "30d").stdout


@pytest.mark.parametrize(
    "args", [(), ("--max-size", "5 XB"), ("--older-than", "30"), ("--older-than", "1w"), ("--max-size", "0")]
)
def test_gc_wants_a_limit_and_an_answer(featx: Any, stored: dict[str, str], home: Path, args: tuple[str, ...]) -> None:
    for digest in stored.values():
        used(home, digest, 30)
    result = featx("cache", "gc", *args)
    assert result.exit_code == 2
    assert left(home) == set(stored.values())


def test_gc_keeps_what_a_process_computes(featx: Any, stored: dict[str, str], home: Path) -> None:
    digest = stored["layer4"]
    with held(FeatureStore(home).folder(digest) / "lock"):
        result = featx("cache", "gc", "--max-size", "0", "--yes")
    assert result.exit_code == 0
    assert f"kept {digest[:12]}" in result.stdout
    assert "in use by another process" in result.stdout
    assert left(home) == {digest}


def test_merge_brings_jobs_together(
    featx: Any, featx_json: Any, stored: dict[str, str], home: Path, tmp_path: Path
) -> None:
    target = tmp_path / "all"
    assert featx("cache", "merge", home, "--home", target).exit_code == 1  # layer4 has a gap
    assert not target.exists()
    shutil.rmtree(FeatureStore(home).folder(stored["layer4"]))
    code, document = featx_json("cache", "merge", home, "--home", target, "--dry-run")
    assert code == 0
    assert document["merged"][0]["shards"] == 2
    assert not target.exists()
    result = featx("cache", "merge", home, home, "--home", target)
    assert result.exit_code == 0
    assert result.stdout.startswith("copied 2 shards")
    assert featx("cache", "verify", "--home", target).exit_code == 0
    assert "already complete" in featx("cache", "merge", home, "--home", target).stdout


def test_merge_of_a_damaged_store_is_corrupt(featx: Any, stored: dict[str, str], home: Path, tmp_path: Path) -> None:
    shutil.rmtree(FeatureStore(home).folder(stored["layer4"]))
    flip(shard_of(home, stored["layer3:avg"]))
    result = featx("cache", "merge", home, "--home", tmp_path / "all")
    assert result.exit_code == 4
    assert not (tmp_path / "all").exists()


def test_info_why_says_which_parts_differ(featx: Any, featx_json: Any, stored: dict[str, str]) -> None:
    a, b = stored["layer3:avg"], stored["layer4"]
    assert featx("cache", "info", "--why", a[:8], b[:8]).stdout == "layer layer3:avg -> layer4\n"
    code, document = featx_json("cache", "info", "--why", a, b)
    assert code == 0
    assert document == {"keys": [a, b], "differences": ["layer layer3:avg -> layer4"]}
    assert featx("cache", "info", "--why", a, a).stdout == "the keys are the same\n"


@pytest.mark.parametrize("count", [(True, 1), (True, 3), (False, 2)])
def test_info_takes_one_key_and_why_two(featx: Any, stored: dict[str, str], count: tuple[bool, int]) -> None:
    why, n = count
    result = featx("cache", "info", *["--why"] * why, *[stored["layer4"]] * n)
    assert result.exit_code == 2


def test_verify_in_a_pipe_draws_no_bar(shell: Any, home: Path) -> None:
    store_features(home, "layer1")
    result = shell(*PROGRAM, "cache", "verify", "--json")
    assert json.loads(result.stdout)["checked"] == 1
    assert "\x1b" not in result.stderr
