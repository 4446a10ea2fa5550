"""Numbers that JSON lacks, and files of JSON. Nothing heavy is imported here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError, detail_of
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


def read_object(path: Path, what: str, way_out: str = "") -> dict[str, Any]:
    """The JSON object in a file; `what` begins the sentences that refuse another, `way_out` ends them.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"There is no {what} {path}; check the path.") from None
    except OSError as error:
        raise InputError(f"The {what} {path} cannot be read ({error.strerror or error}); check the path.") from error
    return object_in(content, path, what, way_out)


def object_in(content: bytes, path: Path, what: str, way_out: str = "") -> dict[str, Any]:
    """The same of a file's bytes, which came from `path`.

    Raises:
        InputError: they are something else.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"The {what} {path} is no text in UTF-8; give a JSON file in UTF-8{way_out}.") from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith(("//", "/*", "#")):
            way_out = f"; JSON has no comments, so take them out{way_out}"
        raise InputError(f"The {what} {path} is no readable JSON ({detail_of(error)}){way_out}.") from error
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else "a single value"
        raise InputError(f"The {what} {path} must hold one JSON object; it holds {kind}.")
    return data


def _mapped(data: Any, change: Callable[[float], Any]) -> Any:
    if isinstance(data, dict):
        return {str(key): _mapped(value, change) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_mapped(value, change) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return change(data)
    return data
