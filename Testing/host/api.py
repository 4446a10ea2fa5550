"""What a running Slicer offers: the two lists in `data/`, unpacked.

`slicer_python_api.json` says which names Python reaches on a class (`qt.QLabel`, `ctk.ctkSliderWidget`, `slicer.qMRMLWidget`);
`slicer_qt_api.json` gives properties, signals and slots of CTK and Slicer classes from their headers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("data")
HANDLE_NAMES = frozenset({"className", "delete", "help", "inherits"})


@dataclass(frozen=True)
class Property:
    """A Qt property: its C++ type and whether it can be set."""

    type: str
    writable: bool


@dataclass(frozen=True)
class CppClass:
    """A CTK or Slicer class from its header, with all that it inherits from other such classes."""

    qtBase: str
    bases: tuple[str, ...]
    properties: dict[str, Property]
    signals: tuple[str, ...]
    slots: tuple[str, ...]


@cache
def _pythonList() -> dict[str, Any]:
    return json.loads((DATA / "slicer_python_api.json").read_text(encoding="utf-8"))["classes"]


@cache
def _headerList() -> dict[str, Any]:
    return json.loads((DATA / "slicer_qt_api.json").read_text(encoding="utf-8"))["classes"]


def exists(module: str, name: str) -> bool:
    """Whether Slicer has the class `module.name`."""
    return f"{module}.{name}" in _pythonList()


def classNames(module: str) -> list[str]:
    """All classes of one of Slicer's modules."""
    return [key.partition(".")[2] for key in _pythonList() if key.startswith(f"{module}.")]


@cache
def names(module: str, name: str) -> frozenset[str]:
    """Every name that Python reaches on a class of Slicer (`has_all_of` is a way of packing, not a base class)."""
    entry = _pythonList()[f"{module}.{name}"]
    found = HANDLE_NAMES.union(entry["names"])
    packed = entry.get("has_all_of")
    return found | names(*packed.split(".", 1)) if packed else found


@cache
def cppClass(name: str) -> CppClass | None:
    """The header's account of a CTK or Slicer class; None for Qt's own."""
    entry = _headerList().get(name)
    if entry is None:
        return None
    base = cppClass(entry["base"])
    properties = dict(base.properties) if base else {}
    properties |= {key: Property(value["type"], value["writable"]) for key, value in entry["properties"].items()}
    slots = [*entry["slots"], *entry["invokables"]]
    return CppClass(
        qtBase=base.qtBase if base else entry["base"],
        bases=(name, *(base.bases if base else ())),
        properties=properties,
        signals=tuple(map(normalized, entry["signals"])) + (base.signals if base else ()),
        slots=tuple(map(normalized, slots)) + (base.slots if base else ()),
    )


def normalized(signature: str) -> str:
    """A signal's or slot's signature as Qt's metaobjects write it: `f(const QString &, int)` -> `f(QString,int)`."""
    name, _, rest = signature.strip().partition("(")
    arguments = rest.rpartition(")")[0].split(",")
    return f"{name.strip()}({','.join(_normalizedType(a) for a in arguments)})"


def _normalizedType(text: str) -> str:
    text = re.sub(r"\s+", " ", text).strip().replace(" *", "*").replace(" &", "&")
    if text.startswith("const ") and text.endswith("&"):
        text = text[len("const ") : -1]
    return text.partition("=")[0].strip()
