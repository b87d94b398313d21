"""A user's own network, ``file.py:factory`` or ``package.module:factory``: found, hashed and run."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from featx.errors import OptionError, either, suggest
from featx.models.source_hash import Walk, code_of, digest_sources, read_source

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

    @property
    def origin(self) -> str:
        """Its name with all folders: what `parse` reads."""
        return f"{self.target}:{self.function}"


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


def check_file(factory: Factory) -> None:
    """Raise OptionError where a factory's own file is not there."""
    if factory.is_file and not Path(factory.target).is_file():
        raise OptionError(f"there is no file {factory.target}", "check the path of --backbone")


def sources(factory: Factory) -> dict[str, Path]:
    """Return the files whose code a key depends on, by module name.

    A file is itself, and brings the modules beneath its own folder that it imports, and theirs. A package module
    brings those of its top-level package.

    Raises
    ------
    OptionError
        Where a source file cannot be found.
    """
    check_file(factory)
    if factory.is_file:
        path = Path(factory.target)
        with _working_folder_last():
            walk = Walk(beneath=path.parent)
            walk.follow(walk.imports("", path, is_package=False))
        return {"": path, **walk.found}
    with _working_folder_last():
        return _package_sources(factory)


def _package_sources(factory: Factory) -> dict[str, Path]:
    walk = Walk(top=factory.target.partition(".")[0])
    if walk.spec(factory.target) is None:
        raise OptionError(
            f"there is no module {factory.target} to import", "install its package, or give a file: networks.py:make"
        )
    walk.follow([factory.target])
    return walk.found


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
    import torch  # heavy

    from featx.graph.placing import placed

    # What a user's code prints must not stand within a document on standard output.
    with _working_folder_last(), contextlib.redirect_stdout(sys.stderr):
        module = _from_file(factory, code) if factory.is_file else _from_package(factory, code)
        network: nn.Module = _run(factory.label, _function(factory, module))
    _check_network(factory, network)
    return placed(network, torch.device("cpu")).float()


def _function(factory: Factory, module: ModuleType) -> Callable[[], Any]:
    """Return the function that a factory names."""
    if not hasattr(module, factory.function):
        known = [name for name, value in vars(module).items() if callable(value)]
        hint = suggest(factory.function, known) or "give the name of a function that returns the network"
        raise OptionError(f"{factory.label.rpartition(':')[0]} has no {factory.function}", hint)
    function: Callable[[], Any] = getattr(module, factory.function)
    _check_callable(factory, function)
    return function


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


def _check_network(factory: Factory, network: Any) -> None:
    import torch  # heavy
    from torch import nn
    from torch.nn.parameter import is_lazy

    if not isinstance(network, nn.Module):
        raise OptionError(
            f"{factory.label} returned a {type(network).__name__}, expected a torch.nn.Module", "return the network"
        )
    if isinstance(network, torch.jit.ScriptModule):  # nothing can be read of what is not run by Python
        raise OptionError(
            f"{factory.label} returned a network of TorchScript, expected a torch.nn.Module that Python runs",
            "return it as it was before torch.jit",
        )
    if any(is_lazy(tensor) for tensor in (*network.parameters(), *network.buffers())):
        raise OptionError(f"{factory.label} has lazy layers, which have no weights yet", "give them their sizes")


def _from_file(factory: Factory, code: str) -> ModuleType:
    """Run a factory's file, as it was hashed, and return it as a module."""
    files = sources(factory)
    contents = {name: read_source(file) for name, file in files.items()}
    _check_unchanged(factory, digest_sources(contents), code)
    path = Path(factory.target)
    # A name that no import can meet; dataclasses look their module up.
    module = ModuleType(f"_featx_{code[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    _run(path.name, lambda: exec(compile(contents[""], str(path), "exec", dont_inherit=True), vars(module)))
    for name, data in contents.items():
        if name in sys.modules:
            _check_loaded(factory, name, digest_sources({name: data}))
    _check_places(files)
    return module


def _from_package(factory: Factory, code: str) -> ModuleType:
    """Import a factory's module, whose package must still be what was hashed."""
    module: ModuleType = _run(factory.target, lambda: importlib.import_module(factory.target))
    files = _package_sources(factory)
    _check_unchanged(factory, code_of(files), code)
    _check_loaded(factory, factory.target, code)
    _check_places(files)
    return module


def _check_loaded(factory: Factory, name: str, code: str) -> None:
    """Refuse a module that this process loaded when its code was another."""
    _check_unchanged(factory, _loaded.setdefault(name, code), code)


def _check_unchanged(factory: Factory, found: str, expected: str) -> None:
    if found != expected:
        raise OptionError(f"the code of {factory.label} changed while featx was running", "start it again")


def _check_places(files: dict[str, Path]) -> None:
    """Refuse modules that Python found elsewhere than where they were hashed."""
    for name, path in files.items():
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and Path(file).resolve() != path.resolve():
            raise OptionError(f"module {name} is loaded from {file}, expected {path}", "start Python anew")


def _run(what: str, step: Callable[[], Any]) -> Any:
    try:
        return step()
    # A stranger's code may raise anything, and leave.
    except (Exception, SystemExit) as exc:
        said = " ".join(str(exc).split())[:160]
        raise OptionError(
            f"{what} failed: {type(exc).__name__}{': ' if said else ''}{said}",
            either("--debug shows where it did", "the exception that it was raised from shows where it did"),
        ) from exc


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
