"""Values that stand in words of the command line, such as NAME=VALUE."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from SegAdversarialLib.errors import InputError


def key_values(pairs: Sequence[str], what: str, last: bool = False) -> dict[str, str]:
    """["a=b"] as {"a": "b"}; of several "=" the first counts, or the last.

    Raises:
        InputError: a pair has no "=" or nothing on one side, or a key comes twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=") if not last else pair.rpartition("=")
        if not sign or not key.strip() or not value.strip():
            raise InputError(f'"{pair}" is not of the form {what}.')
        if key.strip() in found:
            raise InputError(f"{key.strip()} is given twice; give it once.")
        found[key.strip()] = value.strip()
    return found


def value_of(text: str) -> Any:
    """A setting's value as JSON says it, or else the text itself; several values are separated by commas."""
    try:
        return json.loads(text)
    except ValueError:
        return [value_of(x) for x in text.split(",")] if "," in text and text[:1] not in "[{" else text


def settings_of(pairs: Sequence[str], what: str) -> dict[str, Any]:
    """["steps=40", "channels=T1,T2"] as {"steps": 40, "channels": ["T1", "T2"]}.

    Raises:
        InputError: as in `key_values`.
    """
    return {key: value_of(value) for key, value in key_values(pairs, what).items()}


def labels_by_name(pairs: Mapping[str, str], what: str) -> dict[str, list[int]]:
    """{"WT": "1,2,4"} as {"WT": [1, 2, 4]}.

    Raises:
        InputError: something is not a whole number.
    """
    try:
        return {key: [int(x) for x in value.split(",")] for key, value in pairs.items()}
    except ValueError:
        raise InputError(f"{what} takes whole numbers separated by commas, such as 1,2,4.") from None
