"""Python subclasses of Qt classes: `class W(qt.QWidget)`. New attributes are accepted silently, as PythonQt does."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from . import gate, signals
from .classes import ClassInfo


def subclassInfo(name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> ClassInfo:
    """The class info of a new subclass: its base's, with a PySide6 class whose virtual methods call the new ones."""
    base = next(b for b in bases if isinstance(b, gate.ProxyMeta))._hostInfo
    info = ClassInfo(base.module, base.name, base.real)
    overridden = [key for key, value in namespace.items() if _isOverride(base.real, key, value)]
    info.real = type(name, (base.real,), {key: _override(base.real, key) for key in overridden})
    return info


def _isOverride(real: type, name: str, value: Any) -> bool:
    return isinstance(value, FunctionType) and not name.startswith("_") and hasattr(real, name)


def _override(base: type, name: str) -> Any:
    def method(self: Any, *args: Any) -> Any:
        proxy = getattr(self, "_hostProxy", None)
        if proxy is None:  # still under construction
            return getattr(base, name)(self, *args)
        try:
            return gate.unwrap(getattr(type(proxy), name)(proxy, *map(gate.wrap, args)))
        except Exception as error:  # which PySide6 prints
            signals.slotErrors.append(error)
            raise

    method.__name__ = name
    return method
