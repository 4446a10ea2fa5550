"""Reading and writing a proxy's attributes: property, signal, enum, method, child; nothing that Slicer does not have."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore

from . import dropped, enums, gate, signals, specials
from .classes import ClassInfo

MISSING = object()


def realAttribute(owner: Any, name: str) -> Any:
    """PySide6's attribute, also where Python's keywords made it differ (`raise_`); MISSING if there is none."""
    return getattr(owner, name, getattr(owner, f"{name}_", MISSING))


def read(proxy: gate.Proxy, name: str) -> Any:
    """An attribute of a proxy: property, signal, enum or method; else a child of that name."""
    info, real = type(proxy)._hostInfo, gate.realOf(proxy)
    name = _alias(info, name)
    if name not in info.names:
        return _unlisted(proxy, name)
    if dropped.whyName((info.name, *info.bases), name):
        raise info.missing(name)
    if name in info.properties:
        return gate.wrap(_readProperty(info, real, name))
    special = specials.bound(info, name)
    if special:
        return specials.Bound(special, proxy, name)
    signature = info.signalNamed(name)
    if signature:
        return signals.SignalProxy(proxy, signature)
    value = realAttribute(real, name)
    if value is MISSING:
        raise info.missing(name)
    plain = enums.fromQt(name, value)
    return plain if plain is not value or not callable(value) else gate.Method(info, name, value, proxy)


def _alias(info: ClassInfo, name: str) -> str:
    """`exec_` is `exec`; `name` is `objectName`, as in PythonQt."""
    if name == "name" and info.isQObject and name not in info.names:
        return "objectName"
    stripped = name.removesuffix("_")
    return stripped if name not in info.names and stripped in info.names and stripped not in info.properties else name


def _unlisted(proxy: gate.Proxy, name: str) -> Any:
    info, real = type(proxy)._hostInfo, proxy._hostObject
    if info.isQObject:
        if name.encode() in [bytes(n) for n in real.dynamicPropertyNames()]:
            return gate.wrap(real.property(name))
        child = next((c for c in real.children() if c.objectName() == name), None)
        if child is not None:
            return gate.wrap(child)
    raise AttributeError(f"no such name in Slicer's {info}: {name}")


def _capitalized(name: str) -> str:
    return name[0].upper() + name[1:]


def _readProperty(info: ClassInfo, real: Any, name: str) -> Any:
    for getter in (name, f"is{_capitalized(name)}", f"has{_capitalized(name)}"):
        value = getattr(real, getter, MISSING)
        if value is not MISSING:
            return value() if callable(value) else value
    if real.metaObject().indexOfProperty(name) >= 0:
        return real.property(name)
    raise info.missing(name)


def write(proxy: gate.Proxy, name: str, value: Any) -> None:
    """Set an attribute of a proxy: a writable property, or, on a Python subclass, anything."""
    if not hasattr(proxy, "_hostObject"):
        return object.__setattr__(proxy, name, value)  # a Python subclass before super().__init__()
    info, real = type(proxy)._hostInfo, gate.realOf(proxy)
    name = _alias(info, name)
    if name in info.properties and not dropped.whyName((info.name, *info.bases), name):
        _writeProperty(info, real, name, value)
    elif name in info.names:
        raise AttributeError(f"Slot '{name}' can not be overwritten on {info.name} object")
    elif info.isQObject and name.encode() in [bytes(n) for n in real.dynamicPropertyNames()]:
        real.setProperty(name, gate.unwrap(value))
    elif hasattr(proxy, "__dict__"):
        object.__setattr__(proxy, name, value)
    else:
        raise AttributeError(
            f"'{name}' does not exist on {info.name} and creating new attributes on C++ objects is not allowed"
        )


def _writeProperty(info: ClassInfo, real: Any, name: str, value: Any) -> None:
    kind = info.properties[name]
    if not kind.writable:
        raise AttributeError(f"Property '{name}' of {info.name} object is not writable")
    refusal = AttributeError(f"Property '{name}' of type '{kind.type}' does not accept {value!r} ({type(value).__name__})")
    if value is None and not kind.type.endswith("*"):
        raise refusal
    setter = getattr(real, f"set{_capitalized(name)}", None)
    if isinstance(getattr(type(real), name, None), QtCore.Property):
        setattr(real, name, gate.unwrap(value))
    elif setter is not None:
        try:
            gate.call(setter, [value])
        except TypeError as error:
            raise refusal from error
    elif real.metaObject().indexOfProperty(name) < 0:
        raise info.missing(name)
    elif not real.setProperty(name, gate.unwrap(value)):
        raise refusal
