"""Imports without the garbage collector, which is on again afterwards, whatever happened."""

from __future__ import annotations

from heavy import loaded_after

CODE = """
import gc
from featx.cli.importing import importing
gc.collect()
before = gc.get_freeze_count()
try:
    with importing():
        assert not gc.isenabled()
        import {name}
        raise KeyboardInterrupt
except KeyboardInterrupt:
    pass
assert gc.isenabled()
frozen = gc.get_freeze_count()
assert frozen > before
import torch
with importing():
    assert gc.isenabled()
assert gc.get_freeze_count() <= frozen
"""


def test_what_is_imported_is_not_looked_through_and_the_collector_is_on_again() -> None:
    assert "torch" in loaded_after(CODE.format(name="decimal"))


def test_it_freezes_nothing_where_the_collector_is_off() -> None:
    code = "import gc\nfrom featx.cli.importing import importing\ngc.disable()\nwith importing(): pass\n"
    loaded_after(code + "assert not gc.isenabled() and not gc.get_freeze_count()")
