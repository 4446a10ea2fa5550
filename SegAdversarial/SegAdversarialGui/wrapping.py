"""Texts that a narrow panel can wrap."""

from __future__ import annotations

import re

_LONGEST_WORD = 30
_MAY_BREAK = "\u200b"


def breakable(text: str) -> str:
    """The text with places to break in words (paths, names of nodes) that would make the panel wider; they are not seen."""
    return re.sub(rf"(\S{{{_LONGEST_WORD}}})(?=\S)", rf"\1{_MAY_BREAK}", text)
