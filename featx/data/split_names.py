"""What people call the parts of a data set, in folders, file names and lists."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Iterable, Sequence

from featx.errors import FeatxWarning, SourceError

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "devel": "val",
    "development": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluate": "test",
    "evaluation": "test",
    "holdout": "test",
    "heldout": "test",
}
"""Names of splits, and what they are called here; as Hugging Face's data sets have them, and some more."""

_EVALUATION = ("eval", "evaluate", "evaluation")
"""Validate where something else is there to test."""

_IN_TWO_WORDS = ("holdout", "heldout", "trainval")

_FILLERS = (
    *("set", "data", "dataset", "split", "folder", "samples"),
    *("images", "image", "imgs", "img", "pictures", "photos", "pics"),
)
_YEAR = re.compile(r"(19|20)[0-9]{2}")


@functools.lru_cache(maxsize=1024)  # lists and listings ask for few names, a million times
def split_of(name: str) -> str | None:
    """Return the split that a name means (``train``, ``val`` or ``test``), or None: ``Training Set``, ``val2017``."""
    return SPLIT_WORDS.get(_word(name))


def splits_in(name: str) -> set[str]:
    """Return the splits that words of a name mean: ``seg_train`` says train, and is no name of a split."""
    return {SPLIT_WORDS[word] for word in (*_words(name.lower()), *_words(name)) if word in SPLIT_WORDS}


def name_splits(names: Iterable[str], where: str) -> dict[str, str]:
    """Return what each name means; all must mean one.

    Raises
    ------
    SourceError
        Where two names mean the same split.

    Warns
    -----
    FeatxWarning
        Where a name is decided by another one: ``eval`` beside ``test``.
    """
    found = {name: SPLIT_WORDS[_word(name)] for name in names}
    _decide_evaluation(found, where)
    for split in dict.fromkeys(found.values()):
        same = sorted(name for name, meant in found.items() if meant == split)
        if len(same) > 1:
            raise SourceError(
                f"{where} holds {' and '.join(same)}, which mean the same split, {split}; expected one of them",
                "merge them, rename one, or move it elsewhere",
            )
    return found


def _decide_evaluation(found: dict[str, str], where: str) -> None:
    evaluating = [name for name in found if _word(name) in _EVALUATION]
    testing = [name for name, split in found.items() if split == "test" and name not in evaluating]
    if len(evaluating) == 1 and testing and "val" not in found.values():
        found[evaluating[0]] = "val"
        text = f"{where} holds {evaluating[0]} next to {testing[0]}: {evaluating[0]} is used for validation"
        warnings.warn(text, FeatxWarning, stacklevel=3)


def _word(name: str) -> str:
    """Return a name without what says nothing: spaces, signs, years, ``set``, ``images``."""
    plain = _without_fillers(_words(name.lower()))  # capitals may be anywhere: TeStInG
    return plain if plain in SPLIT_WORDS else _without_fillers(_words(name))


def _without_fillers(words: Sequence[str]) -> str:
    parts = [part for part in words if part not in _FILLERS and not _YEAR.fullmatch(part)]
    word = "".join(parts)
    if len(parts) != 1 or word in SPLIT_WORDS:
        return word if len(parts) == 1 or word in _IN_TWO_WORDS else ""
    return next((word.removesuffix(f) for f in _FILLERS if word.removesuffix(f) in SPLIT_WORDS), word)


def _words(name: str) -> list[str]:
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W\d_]+|[0-9]+", parted.lower())
