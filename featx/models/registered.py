"""Which networks a package offers, read from its source: to import torchvision or timm takes seconds.

Both write every network as a function below ``@register_model``, in the files of their folder ``models``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

_REGISTERED = re.compile(r'@register_model(?:\((?:name=)?(?:"(\w+)")?\))?\n(?:@.*\n)*def (\w+)\(')


@functools.cache
def registered_names(package: str) -> tuple[str, ...]:
    """Return the names of a package's networks, in order; none where its source is not at hand."""
    found = (match for text in _sources(package) for match in _REGISTERED.findall(text))
    return tuple(sorted({given or function for given, function in found}))


@functools.cache
def is_defined(package: str, name: str) -> bool:
    """Tell whether a package has a function of this name among its networks: sooner known than all of them."""
    return any(f"\ndef {name}(" in text for text in _sources(package))


@functools.cache
def weights_of(package: str, name: str) -> tuple[str, tuple[str, ...]]:
    """Return what a network's published weights are called: the class that lists them, and its members.

    Both are empty where the source does not tell.
    """
    takes = re.compile(rf"^def {re.escape(name)}\((?:[^)]*?)weights: Optional\[(\w+)\]", re.MULTILINE)
    for text in _sources(package):
        kind = takes.search(text)
        if kind:
            body = text.partition(f"\nclass {kind[1]}(")[2].partition("\n\n\n")[0]
            return kind[1], tuple(re.findall(r"^    ([A-Z]\w*) = ", body, re.MULTILINE))
    return "", ()


def _sources(package: str) -> Iterator[str]:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return
    for path in sorted((Path(spec.origin).parent / "models").glob("*.py")):
        with suppress(OSError, UnicodeDecodeError):
            yield path.read_text("utf-8")
