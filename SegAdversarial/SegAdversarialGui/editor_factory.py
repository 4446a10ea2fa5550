"""Which editor a field gets. There is one for every field: what no other fits is a line of JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from SegAdversarialGui import editors
from SegAdversarialGui.attack_editors import AttackEditor, FileEditor
from SegAdversarialGui.choice_editors import OneEditor, SeveralEditor
from SegAdversarialGui.editors import Editor
from SegAdversarialGui.fields import Field

_log = logging.getLogger(__name__)


def makeEditor(field: Field) -> Editor:
    """The editor of a field, showing its default."""
    try:
        return _fitting(field)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError):
        # a schema that nobody has thought of must not hide the attack
        _log.exception("The field %s has no editor of its own", field.name)
        return _jsonLine(field.default)


def _fitting(field: Field) -> Editor:
    if field.choose in ("channels", "classes"):
        return SeveralEditor(field)
    if field.choose == "class":
        return OneEditor(field)
    if field.choose in ("network", "generator", "pattern"):
        return FileEditor(field)
    if field.choose in ("attack", "random-attack", "bounded-attack"):
        return AttackEditor(field)
    special, others = [], []
    for schema in field.alternatives:
        (special if schema.get("type") == "null" or "const" in schema else others).append(schema)
    values = [schema.get("const") for schema in special]
    if not others:
        return editors.EnumEditor(field, values)
    if all("enum" in x for x in others) and (values or len(others) > 1):
        return editors.EnumEditor(field, [*values, *(value for x in others for value in x["enum"])])
    if len(others) > 1 or len(values) > 1:
        return _jsonLine(field.default)
    if values:
        text = field.ofNothing if values[0] is None else _("automatic") if values[0] == "auto" else field.readable(values[0])
        return editors.OptionalEditor(_simple(field, others[0]), values[0], text, field.default)
    return _simple(field, others[0])


def _simple(field: Field, schema: Mapping[str, Any]) -> Editor:
    """The editor for one kind of value."""
    kind = schema.get("type")
    if "enum" in schema:
        return editors.EnumEditor(field, schema["enum"])
    if kind == "boolean":
        return editors.SwitchEditor(field)
    if kind == "number":
        return editors.NumberEditor(field, schema)
    if kind == "integer" and editors.IntegerEditor.fits(schema):
        return editors.IntegerEditor(field, schema)
    if kind == "integer":
        return editors.LineEditor(_plain, _integer, field.default)
    if kind == "string":
        return editors.LineEditor(_plain, str, field.default)
    if kind == "array":
        return editors.LineEditor(_listText, _list, field.default)
    return _jsonLine(field.default)


def _jsonLine(default: Any) -> Editor:
    return editors.LineEditor(_jsonText, _json, default)


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def _integer(text: str) -> Any:
    """A whole number of any size; a text that is none is left to be refused."""
    try:
        return int(text)
    except ValueError:
        return text


def _json(text: str) -> Any:
    """JSON where it is JSON, else the text itself; nothing is null."""
    try:
        return json.loads(text) if text.strip() else None
    except ValueError:
        return text


def _jsonText(value: Any) -> str:
    """The text that means a value: a text without quotation marks, unless it could be read as something else."""
    if value is None:
        return ""
    if isinstance(value, str) and _json(value) == value and value == " ".join(value.split()):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _list(text: str) -> Any:
    """A list with or without its brackets; words need no quotation marks."""
    for candidate in (text, f"[{text}]"):
        found = _json(candidate)
        if isinstance(found, list):
            return found
    return [_json(x.strip()) for x in text.split(",")]


def _listText(value: Any) -> str:
    """Plain lists without brackets and quotation marks: "1.0, 2.5", "bias, noise"."""
    if isinstance(value, (list, tuple)) and value:
        text = ", ".join(map(_jsonText, value))
        return text if editors.same(_list(text), list(value)) else json.dumps(list(value), ensure_ascii=False)
    return _jsonText(value)
