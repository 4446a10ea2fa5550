"""HTML that is safe by construction: whatever is not made here is text, and text is escaped."""

from __future__ import annotations

import html
import re
from typing import Any

_VOID = {"img", "input", "meta", "col"}
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


def escaped(value: Any) -> Markup:
    """A value as HTML text: markup stays as it is, nothing becomes nothing, everything else is escaped.

    What no browser shows (control characters, halves of surrogate pairs from odd file names) becomes U+FFFD.
    """
    if isinstance(value, Markup):
        return value
    return Markup("" if value is None else html.escape(_UNPRINTABLE.sub("\ufffd", str(value))))


def element(tag: str, *content: Any, **attributes: Any) -> Markup:
    """An element with its content.

    Args:
        tag: its name.
        content: values as `escaped` takes them.
        attributes: `class_` and `data_value` are class and data-value; True is an attribute without a value, and None and
            False are none at all.
    """
    said = "".join(_attribute(name, value) for name, value in attributes.items() if value is not None and value is not False)
    if tag in _VOID:
        return Markup(f"<{tag}{said}>")
    return Markup(f"<{tag}{said}>{joined(content)}</{tag}>")


def joined(content: Any, between: str = "") -> Markup:
    """Several values one after the other, as `escaped` takes them."""
    return Markup(html.escape(between).join(map(escaped, content)))


def _attribute(name: str, value: Any) -> str:
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escaped(str(value))}"'
