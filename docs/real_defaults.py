"""A griffe extension: defaults as values. They stand once, in the config classes, and a signature only names them."""

from __future__ import annotations

import inspect
import re
from typing import Any

from griffe import DocstringSectionKind, Extension, Function, Module

import featx

_PLAIN = (type(None), bool, int, float, str, tuple)


class RealDefaults(Extension):
    """Show ``batch_size=64`` where the source says ``batch_size=ExtractConfig.batch_size``."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Replace the defaults of the public classes' parameters and methods."""
        for name in featx.__all__:
            public = pkg[name].final_target
            _show_values(public, getattr(featx, name))
            for member in public.members.values() if public.is_class else ():
                if isinstance(member, Function):
                    _show_values(member, getattr(getattr(featx, name), member.name))
            _give_each_its_own(public)


def _show_values(found: Any, real: Any) -> None:
    if not found.parameters:
        return
    values = {name: parameter.default for name, parameter in inspect.signature(real).parameters.items()}
    for parameter in found.parameters:
        value = values.get(parameter.name, inspect.Parameter.empty)
        if parameter.default is not None and isinstance(value, _PLAIN):
            parameter.default = repr(value)


def _give_each_its_own(found: Any) -> None:
    """Undo what griffe does to names that a docstring describes together: all have the first one's default and type."""
    if not (found.docstring and found.parameters):
        return
    found.docstring.value = re.sub(r",[ ]{2,}(?=\w)", ", ", found.docstring.value)  # a long line of names, continued
    types = [parameter.annotation for parameter in found.parameters]
    for section in found.docstring.parsed:
        if section.kind is DocstringSectionKind.parameters:
            for parameter in section.value:
                own = found.parameters[parameter.name]
                parameter.value = own.default
                if any(parameter.annotation is each for each in types):  # of the signature, not of the docstring
                    parameter.annotation = own.annotation
