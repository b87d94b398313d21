"""A user's own network, ``file.py:factory`` or ``package.module:factory``: found, hashed and run."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from featx.errors import OptionError, nearest

if TYPE_CHECKING:
    from torch import nn

_loaded: dict[str, str] = {}
"""Code of each package module as it was when this process loaded it: Python does not load it twice."""


@dataclass(frozen=True)
class Factory:
    """Where a network's builder stands.

    Parameters
    ----------
    target : str
        Absolute path of a ``.py`` file, or a module's dotted name.
    function : str
        Called without arguments.
    """

    target: str
    function: str

    @property
    def is_file(self) -> bool:
        """Whether it stands in a file of its own, outside any package."""
        return self.target.endswith(".py")

    @property
    def label(self) -> str:
        """Its name without folders: a key depends on the code, and not on where that lies."""
        return f"{Path(self.target).name if self.is_file else self.target}:{self.function}"


def is_factory(name: str) -> bool:
    """Tell whether a backbone's name means a user's own network."""
    return ":" in name


def parse(name: str) -> Factory:
    """Read ``file.py:factory`` or ``package.module:factory``; OptionError for anything else."""
    target, _, function = name.rpartition(":")
    if target.endswith(".py") and function.isidentifier():
        return Factory(str(Path(target).expanduser().absolute()), function)
    if not all(part.isidentifier() for part in (*target.split("."), function)):
        raise OptionError(
            f"backbone {name[:80]!r} is no factory, expected file.py:factory or package.module:factory",
            "for example networks.py:make",
        )
    return Factory(target, function)


def sources(factory: Factory) -> dict[str, Path]:
    """Return the files whose code a key depends on, by module name.

    A file is itself. A package module brings the modules of its top-level package that it imports, and theirs.

    Raises
    ------
    OptionError
        Where a source file cannot be found.
    """
    if factory.is_file:
        if not Path(factory.target).is_file():
            raise OptionError(f"there is no file {factory.target}", "check the path of --backbone")
        return {"": Path(factory.target)}
    with _working_folder_last():
        return _Walk(factory.target).found


def code_of(files: dict[str, Path]) -> str:
    """Return the SHA-256 over source files: names of modules and bytes."""
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        data = _read(path)
        digest.update(b"%d:%s%d:" % (len(name), name.encode(), len(data)) + data)
    return digest.hexdigest()


def make(factory: Factory, code: str) -> nn.Module:
    """Run a factory.

    Parameters
    ----------
    factory : Factory
        From `parse`.
    code : str
        `code_of` its sources: what runs must be what was hashed.

    Raises
    ------
    OptionError
        Where the code changed or fails, needs arguments, or returns no network.
    """
    from torch import nn  # heavy
    from torch.nn.parameter import is_lazy

    # What a user's code prints must not stand within a document on standard output.
    with _working_folder_last(), contextlib.redirect_stdout(sys.stderr):
        module = _from_file(factory, code) if factory.is_file else _from_package(factory, code)
        known = [name for name, value in vars(module).items() if callable(value)]
        if not hasattr(module, factory.function):
            hint = nearest(factory.function, known) or "give the name of a function that returns the network"
            raise OptionError(f"{factory.label.rpartition(':')[0]} has no {factory.function}", hint)
        function = getattr(module, factory.function)
        _check_callable(factory, function)
        network = _run(factory.label, function)
    if not isinstance(network, nn.Module):
        raise OptionError(
            f"{factory.label} returned a {type(network).__name__}, expected a torch.nn.Module", "return the network"
        )
    if any(is_lazy(tensor) for tensor in (*network.parameters(), *network.buffers())):
        raise OptionError(f"{factory.label} has lazy layers, which have no weights yet", "give them their sizes")
    return network.cpu().float()


def _check_callable(factory: Factory, function: Any) -> None:
    from torch import nn  # heavy

    if isinstance(function, nn.Module) or not callable(function):
        raise OptionError(
            f"{factory.label} is a {type(function).__name__}, expected a function that returns a network",
            "give the name of a function without arguments",
        )
    try:
        inspect.signature(function).bind()
    except TypeError as exc:
        raise OptionError(
            f"{factory.label} needs arguments ({exc}), expected none", "give them defaults, or wrap it"
        ) from exc
    except ValueError:  # a builtin without a signature: calling it will tell
        return


def _from_file(factory: Factory, code: str) -> ModuleType:
    path = Path(factory.target)
    data = _read(path)
    digest = hashlib.sha256(b"0:%d:" % len(data) + data).hexdigest()
    _check_code(factory, digest, code)
    # A name that no import can meet; dataclasses look their module up.
    module = ModuleType(f"_featx_{digest[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    _run(path.name, lambda: exec(compile(data, str(path), "exec", dont_inherit=True), vars(module)))
    return module


def _from_package(factory: Factory, code: str) -> ModuleType:
    module: ModuleType = _run(factory.target, lambda: importlib.import_module(factory.target))
    files = _Walk(factory.target).found
    _check_code(factory, code_of(files), code)
    _check_code(factory, _loaded.setdefault(factory.target, code), code)
    for name, path in files.items():
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and Path(file).resolve() != path.resolve():
            raise OptionError(f"module {name} is loaded from {file}, expected {path}", "start Python anew")
    return module


def _check_code(factory: Factory, found: str, expected: str) -> None:
    if found != expected:
        raise OptionError(f"the code of {factory.label} changed while featx was running", "start it again")


def _run(what: str, step: Callable[[], Any]) -> Any:
    try:
        return step()
    # A stranger's code may raise anything, and leave.
    except (Exception, SystemExit) as exc:
        said = " ".join(str(exc).split())[:160]
        raise OptionError(
            f"{what} failed: {type(exc).__name__}{': ' if said else ''}{said}", "--debug shows where it did"
        ) from exc


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise OptionError(f"{path} cannot be read: {exc.strerror}", "check its permissions") from exc


@contextlib.contextmanager
def _working_folder_last() -> Iterator[None]:
    """Let no file of the working folder stand in for an installed module, as with ``python -c`` and ``python -m``."""
    before, here = list(sys.path), os.path.realpath(os.getcwd())
    kept = [(path, os.path.realpath(path) == here) for path in before if path]
    if kept and before[0] and kept[0][1]:
        kept = kept[1:]
    # An editable install, or PYTHONPATH, may mean the working folder too.
    sys.path[:] = [path for path, is_here in kept if not is_here] + [path for path, is_here in kept if is_here]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


class _Walk:
    """The modules of one top-level package that a module imports, found without running any of them."""

    def __init__(self, target: str) -> None:
        self.top = target.partition(".")[0]
        self.found: dict[str, Path] = {}
        self._specs: dict[str, ModuleSpec | None] = {}
        if self._spec(target) is None:
            raise OptionError(
                f"there is no module {target} to import", "install its package, or give a file: networks.py:make"
            )
        waiting = [target]
        while waiting:
            name = waiting.pop()
            if name not in self.found and (spec := self._spec(name)) is not None:
                waiting += [parent for parent in [name.rpartition(".")[0]] if parent]
                if spec.origin is not None:  # a namespace package has no code
                    self.found[name] = self._source(name, spec.origin)
                    waiting += self._imports(name, self.found[name], spec.submodule_search_locations is not None)

    def _spec(self, name: str) -> ModuleSpec | None:
        if name not in self._specs:
            parent, _, _ = name.rpartition(".")
            if not parent:
                finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
                self._specs[name] = next((s for find in finders if find and (s := find(name, None))), None)
            else:
                above = self._spec(parent)
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

    def _imports(self, name: str, path: Path, is_package: bool) -> list[str]:
        try:
            nodes = list(ast.walk(ast.parse(_read(path))))
        except (SyntaxError, ValueError) as exc:
            raise OptionError(f"{path} is no Python: {exc}", "mend it") from exc
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
        return [found for found in wanted if found.split(".")[0] == self.top]
