"""Texts that fit into a narrow panel."""

from __future__ import annotations

import re

_LONGEST_WORD, _LONGEST = 30, 26
_MAY_BREAK = "\u200b"


def breakable(text: str) -> str:
    """The text with places to break in words (paths, names of nodes) that would make the panel wider; they are not seen."""
    return re.sub(rf"(\S{{{_LONGEST_WORD}}})(?=\S)", rf"\1{_MAY_BREAK}", text)


def shortened(text: str, longest: int = _LONGEST) -> str:
    """A text of a length that a label or check box can have; its tool tip has all of it."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
