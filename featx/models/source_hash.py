"""Which source files a network's code is made of, found without running any of them, and their hash."""

from __future__ import annotations

import ast
import hashlib
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from featx.errors import OptionError


def code_of(files: dict[str, Path]) -> str:
    """Return the SHA-256 over source files: names of modules and bytes."""
    return digest_sources({name: read_source(path) for name, path in files.items()})


def digest_sources(contents: dict[str, bytes]) -> str:
    """Return the SHA-256 over names of modules and bytes."""
    digest = hashlib.sha256()
    for name, data in sorted(contents.items()):
        digest.update(b"%d:%s%d:" % (len(name), name.encode(), len(data)) + data)
    return digest.hexdigest()


def read_source(path: Path) -> bytes:
    """Return a file's bytes; OptionError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise OptionError(f"{path} cannot be read: {exc.strerror}", "check its permissions") from exc


class Walk:
    """The modules of one top-level package, or beneath one folder, that others import; none of them is run."""

    def __init__(self, top: str = "", beneath: Path | None = None) -> None:
        self._top, self._beneath = top, None if beneath is None else beneath.resolve()
        self.found: dict[str, Path] = {}
        self._specs: dict[str, ModuleSpec | None] = {}

    def follow(self, waiting: list[str]) -> None:
        """Find the sources of modules, of the packages that they are in, and of all that these import."""
        while waiting:
            name = waiting.pop()
            if name not in self.found and self._wanted(name) and (spec := self.spec(name)) is not None:
                waiting += [parent for parent in [name.rpartition(".")[0]] if parent]
                if spec.origin is not None:  # a namespace package has no code
                    self.found[name] = self._source(name, spec.origin)
                    waiting += self.imports(name, self.found[name], spec.submodule_search_locations is not None)

    def _wanted(self, name: str) -> bool:
        if self._beneath is None:
            return name.partition(".")[0] == self._top
        if name.partition(".")[0] in sys.stdlib_module_names or (spec := self.spec(name)) is None:
            return False
        places = [spec.origin] if spec.origin and spec.has_location else spec.submodule_search_locations or []
        inside = [self._beneath in Path(place).resolve().parents for place in places]
        # An environment in the factory's own folder holds installed packages, not its code.
        return any(inside) and not any("site-packages" in Path(place).parts for place in places)

    def spec(self, name: str) -> ModuleSpec | None:
        """Return how a module would be imported; None where it cannot be found."""
        if name not in self._specs:
            parent, _, _ = name.rpartition(".")
            if not parent:
                finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
                self._specs[name] = next((s for find in finders if find and (s := find(name, None))), None)
            else:
                above = self.spec(parent)
                inside = above.submodule_search_locations if above else None
                self._specs[name] = PathFinder.find_spec(name, inside) if inside is not None else None
        return self._specs[name]

    def _source(self, name: str, origin: str) -> Path:
        path = Path(origin)
        if path.suffix != ".py" or not path.is_file():
            raise OptionError(
                f"the source of module {name} cannot be found ({origin}), so its changes would go unnoticed",
                "put the factory into a file of its own: networks.py:make",
            )
        return path

    def imports(self, name: str, path: Path, is_package: bool) -> list[str]:
        """Return all names that a file's import statements may mean."""
        try:
            nodes = list(ast.walk(ast.parse(read_source(path), str(path))))
        except (SyntaxError, ValueError) as exc:
            raise OptionError(f"{path} is no Python: {type(exc).__name__}: {exc}", "mend it") from exc
        package = name if is_package else name.rpartition(".")[0]
        wanted: list[str] = []
        for node in nodes:
            if isinstance(node, ast.Import):
                wanted += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                parts = package.split(".")
                base = parts[: len(parts) - node.level + 1] if node.level else []
                whole = ".".join([*base, *([node.module] if node.module else [])])
                wanted += [whole, *(f"{whole}.{alias.name}" for alias in node.names)]
        return [found for found in wanted if found]
