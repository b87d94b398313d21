"""What devices are called; which of them are there, torch alone knows. Loads no torch."""

from __future__ import annotations

import re
from typing import Any

from featx.errors import OptionError

KNOWN = "cpu, cuda or cuda:N"
ANY_DEVICE = f"auto, {KNOWN}"
HINT = "use --device cpu; `featx doctor` checks the installation"

_NAME = re.compile(r"cpu|cuda(:(0|[1-9][0-9]{0,2}))?")


def check_device_name(name: Any, known: str = KNOWN) -> None:
    """Raise OptionError for what no device is called; `known` names what is expected."""
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise OptionError(f"device is {name!r:.42}, expected {known}", HINT)
