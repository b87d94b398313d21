"""Which versions of packages are installed: looked up once, since each look searches all folders of packages anew."""

from __future__ import annotations

import functools
import importlib.metadata


@functools.cache
def version(package: str) -> str:
    """Return a package's version; PackageNotFoundError where it is not installed.

    Examples
    --------
    >>> version("numpy").split(".")[0].isdigit()
    True
    """
    return importlib.metadata.version(package)
