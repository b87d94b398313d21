"""Names of shards: ranges in braces, lists in text files, and what the names say about ids and splits."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from featx.core.urls import is_url
from featx.data.split_names import name_splits, split_of
from featx.errors import OptionError, SourceError, first_few

MAX_SHARDS = 1_000_000
"""That braces may stand for: a typing error could mean any number."""

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})")


def has_braces(spec: str) -> bool:
    """Tell names in braces: ``shard-{000000..000999}.tar``."""
    return any(_RANGE.fullmatch(found[1]) or "," in found[1] for found in _BRACES.finditer(spec))


def expand_braces(spec: str) -> list[str]:
    """Return all names that ranges and alternatives in braces stand for, the last brace changing first.

    >>> expand_braces("{train,val}-{08..10}.tar")[:4]
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'val-08.tar']

    Raises
    ------
    OptionError
        A range that counts down, or more than `MAX_SHARDS` names.
    """
    texts = _BRACES.split(spec)
    parts: list[Sequence[str]] = []
    total = 1
    for i, text in enumerate(texts):
        found: Sequence[str] = [text] if i % 2 == 0 else _alternatives(text, spec)
        total *= len(found)
        if total > MAX_SHARDS:
            raise OptionError(f"{spec[:200]} stands for more than {MAX_SHARDS:,} shards", "check its braces")
        parts.append(found)
    return ["".join(names) for names in itertools.product(*parts)]


def _alternatives(text: str, spec: str) -> Sequence[str]:
    if found := _RANGE.fullmatch(text):
        first, last = int(found[1]), int(found[2])
        if last < first or last - first >= MAX_SHARDS:
            raise OptionError(f"{spec[:200]}: the range {text} is empty or too long", "for example {000000..000999}")
        width = len(found[1])
        return [f"{number:0{width}d}" for number in range(first, last + 1)]
    return text.split(",") if "," in text else [f"{{{text}}}"]


def shard_lines(text: str, where: str) -> Iterator[tuple[int, str]]:
    """Give the number of each line of a text file that lists shards, and the names that it stands for.

    Raises
    ------
    SourceError
        A line is no name of a ``.tar``.
    """
    for number, line in enumerate(text.splitlines(), 1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        bare = name.partition("?")[0] if is_url(name) else name
        if not bare.lower().endswith(".tar"):
            raise SourceError(
                f"{where}, line {number}: it is {name.partition('?')[0]!r:.120}, expected the path or URL of a .tar",
                "a text file lists WebDataset's shards; images are listed in a .csv with the columns path,label",
            )
        for one in expand_braces(name) if has_braces(name) else [name]:
            yield number, one


def shard_ids(places: Sequence[str]) -> list[str]:
    """Return what the rows of each shard are called by: its path below the folder of all of them, without ``.tar``.

    A folder that is called as a split is not left out, so that ``train/0000.tar`` alone is the split train.

    Raises
    ------
    SourceError
        Two shards have the same name: rows would have the same ids.
    """
    folders = [PurePosixPath(place).parts[:-1] for place in places]
    common = 0
    while all(len(folder) > common and folder[common] == folders[0][common] for folder in folders):
        common += 1
    if common and split_of(folders[0][common - 1]):
        common -= 1
    ids = [
        "/".join((*folder[common:], PurePosixPath(place).name.removesuffix(".tar").removesuffix(".TAR")))
        for folder, place in zip(folders, places, strict=True)
    ]
    twice = sorted(name for name, count in Counter(ids).items() if count > 1)
    if twice:
        raise SourceError(f"shards are named more than once: {first_few(twice)}", "name each of them once")
    return ids


def split_shards(where: str, ids: Sequence[str]) -> list[str]:
    """Return the split of each shard, ``all`` where their names say nothing.

    Raises
    ------
    SourceError
        Where some of the names are splits and others are not, or two of them mean the same split.
    """
    for spelt in (_by_folder(ids), _by_word(ids, 0), _by_word(ids, 1)):
        said = [word for word in spelt if word]
        if not said:
            continue
        if len(said) < len(ids):
            others = [name for name, word in zip(ids, spelt, strict=True) if not word]
            raise SourceError(
                f"{where} holds {first_few(others)} beside shards of splits ({first_few(sorted(set(said)))})",
                "name them after a split too, or name one kind of them",
            )
        named = name_splits(dict.fromkeys(said), where)
        return [named[word] for word in spelt]
    return ["all"] * len(ids)


def _by_folder(ids: Sequence[str]) -> list[str]:
    tops = [name.split("/")[0] if "/" in name else "" for name in ids]
    return [top if split_of(top) else "" for top in tops]


def _by_word(ids: Sequence[str], number: int) -> list[str]:
    """Return the first or second word of each shard's name where it is a split: ``imagenet1k-train-0000``."""
    words = [re.split(r"[-._]", name.rpartition("/")[2]) for name in ids]
    return [found[number].lower() if len(found) > number and split_of(found[number]) else "" for found in words]
