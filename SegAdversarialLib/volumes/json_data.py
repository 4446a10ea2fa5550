"""Numbers that JSON lacks, and files of JSON. Nothing but the standard library is imported here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from SegAdversarialLib.volumes.files import whole_file

_INFINITIES = {"Infinity": math.inf, "-Infinity": -math.inf}


def plain(data: Any) -> Any:
    """`data` with null in the place of nan and infinities, so that every JSON reader takes it."""
    return _mapped(data, lambda number: None)


def exact(data: Any) -> Any:
    """`data` with null in the place of nan, and with the texts "Infinity" and "-Infinity": nothing is lost in a file."""
    return _mapped(data, lambda number: None if math.isnan(number) else "Infinity" if number > 0 else "-Infinity")


def number(value: Any) -> Any:
    """What `exact` made of a number, as the number it was; anything else stays as it is."""
    if value is None:
        return math.nan
    return _INFINITIES.get(value, value) if isinstance(value, str) else value


def write_json(path: Path, data: Any) -> None:
    """Write JSON data, whole or not at all; nan becomes null, and infinities the texts "Infinity" and "-Infinity"."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(exact(data), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _mapped(data: Any, change: Callable[[float], Any]) -> Any:
    if isinstance(data, dict):
        return {str(key): _mapped(value, change) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_mapped(value, change) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return change(data)
    return data
