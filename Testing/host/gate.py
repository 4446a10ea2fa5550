"""The gate: every Qt object that module code sees is a proxy that allows what PythonQt allows, and nothing else.

Behind a proxy is the real PySide6 object. Names are checked against `data/slicer_python_api.json` (what a running Slicer
offers), signatures against PySide6's metaobjects and, for CTK and Slicer classes, `data/slicer_qt_api.json`.

Use from the host itself::

    wrap(value)             PySide6 object -> its one proxy; enum -> int; list -> tuple of wrapped; anything else as it is
    unwrap(value)           the way back; Python callables, VTK objects and plain values pass unchanged
    classOf(module, name)   the class that module code sees, e.g. classOf("slicer", "qMRMLNodeComboBox"); AttributeError if
                            Slicer has no such class, NotImplementedError if the host has no stand-in for it yet

A stand-in for a CTK or Slicer class is a PySide6 class, declared by a decorator::

    @hostWidget("slicer", "qMRMLNodeComboBox", signals={
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "currentNodeIsValid",
    })
    class NodeComboBox(QtWidgets.QWidget):
        currentNodeChanged = Signal(object)     # a real signal for each C++ signature
        currentNodeIsValid = Signal(bool)

        def noneEnabled(self): ...              # property noneEnabled: getter `name` or `isName`, setter `setName`,
        def setNoneEnabled(self, on): ...       # or one PySide6 Property (wanted if QUiLoader sets it)
        def currentNode(self): ...              # not a property in slicer_qt_api.json: a method, to be called
        def setCurrentNode(self, node): ...     # methods get and return real objects: no proxies inside a stand-in

- `signals`: C++ signature as in slicer_qt_api.json -> name of the PySide6 Signal in the class. What the PySide6 class has
  under the same signature (`Signal(bool)` named `contentsCollapsed`, or one of its Qt base) needs no entry. Bases' hold too.
- Derive from the class's real Qt base (or from another stand-in): inherited properties, slots and signals then come for free.
- Enum values are plain ints in the class (`Dirs = 1`).
- What Slicer has and the stand-in has not raises NotImplementedError by name; what Slicer has not, AttributeError.
- Importing the file with the decorated class registers it. Module code gets it as `classOf("slicer", "qMRMLNodeComboBox")`,
  and `wrap(NodeComboBox())` is an instance of that.

As in PythonQt the proxies' classes have no common bases: `isinstance(button, qt.QWidget)` is False (ask `button.inherits`).
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

import shiboken6
from PySide6 import QtCore
from shibokensupport.signature import get_signature

from . import api, dropped, enums, specials
from .classes import ClassInfo, hostWidget, realClass, standInOf

__all__ = ["Proxy", "call", "classOf", "hostWidget", "realOf", "unwrap", "wrap"]


_proxies: WeakValueDictionary[int, Proxy] = WeakValueDictionary()


@cache
def classOf(module: str, name: str) -> type[Proxy]:
    """The class `module.name` as module code sees it.

    Raises AttributeError if Slicer has no such class or Qt 6 dropped it; NotImplementedError if the host has no stand-in.
    """
    if not api.exists(module, name):
        raise AttributeError(f"no such class in Slicer: {module}.{name}")
    why = dropped.whyClass(name) if module == "qt" else None
    if why:
        raise AttributeError(f"{module}.{name} is refused: it is not there in every Slicer (Qt 5 and Qt 6); {why}")
    real = realClass(module, name)
    if real is None:
        raise NotImplementedError(f"the host has no {name} yet: add it to Testing/host")
    return ProxyMeta(name, (Proxy,), {"__slots__": (), "__module__": module, "_hostInfo": ClassInfo(module, name, real)})


class ProxyMeta(type):
    """The class of the proxies' classes: enum values, static methods, unbound methods."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") or name == "_hostInfo":
            raise AttributeError(name)
        info = cls._hostInfo
        if name not in info.names:
            raise AttributeError(f"no such name in Slicer's {info}: {name}")
        if dropped.whyName((info.name, *info.bases), name):
            raise info.missing(name)
        if name in info.properties:
            return UnboundProperty(info, name)
        special = specials.ofClass(info, name)
        if special:
            return special
        value = attributes.realAttribute(info.real, name)
        if value is attributes.MISSING:
            raise info.missing(name)
        plain = enums.fromQt(name, value)
        return Method(info, name, value) if plain is value and callable(value) else plain

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
        if "_hostInfo" not in namespace and bases:
            from .subclass import subclassInfo

            namespace["_hostInfo"] = subclassInfo(name, bases, namespace)
        return super().__new__(mcs, name, bases, namespace)

    def __dir__(cls) -> list[str]:
        return sorted(cls._hostInfo.names)


class Proxy(metaclass=ProxyMeta):
    """One Qt object as module code sees it."""

    __slots__ = ("_hostObject", "__weakref__")
    _hostInfo: ClassInfo
    _hostObject: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        info = type(self)._hostInfo
        if kwargs:
            raise ValueError(f"Called {info.name}() with keyword arguments, but called slot does not support kwargs.")
        real = call(info.real, args)
        adopt(self, real)
        if hasattr(self, "__dict__"):
            real._hostProxy = self  # a Python subclass lives as long as its C++ object

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_hostObject":
            raise AttributeError(name)
        return attributes.read(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        attributes.write(self, name, value)

    def __bool__(self) -> bool:
        return shiboken6.isValid(self._hostObject)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Proxy):
            return NotImplemented
        if self._hostObject is other._hostObject:
            return True
        return not type(self)._hostInfo.isQObject and bool(self._hostObject == other._hostObject)

    def __hash__(self) -> int:
        return id(self._hostObject)

    def __dir__(self) -> list[str]:
        return sorted(type(self)._hostInfo.names)

    def __repr__(self) -> str:
        name = type(self)._hostInfo.name
        return f"{name} ({name} at: {id(self._hostObject):#x})"

    def __str__(self) -> str:
        return repr(self._hostObject.data()) if isinstance(self._hostObject, QtCore.QByteArray) else repr(self)


class Method:
    """A method or slot of Qt: truthy, and to be called."""

    def __init__(self, info: ClassInfo, name: str, function: Callable, owner: Proxy | None = None) -> None:
        self._info, self.__name__, self._function, self._owner = info, name, function, owner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            raise ValueError(f"Called {self._info}.{self.__name__}() with keyword arguments, which PythonQt does not take.")
        result = wrap(call(self._function, args))
        return specials.withoutOk(self._info.name, self.__name__, result)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Method) and (other._owner, other.__name__) == (self._owner, self.__name__)

    def __hash__(self) -> int:
        return hash((self._owner, self.__name__))

    def __repr__(self) -> str:
        return f"<built-in qt slot {self.__name__} of {self._info.name} object: call it>"


class UnboundProperty:
    """A property on the class: something is there, but it has no value and cannot be called."""

    def __init__(self, info: ClassInfo, name: str) -> None:
        self._text = f"{info}.{name} is a property: read it on an object, without calling it"

    def __call__(self, *_args: Any) -> None:
        raise TypeError(self._text)

    def __repr__(self) -> str:
        return f"<{self._text}>"


def adopt(proxy: Proxy, real: Any) -> None:
    """Make `proxy` the one proxy of `real`."""
    object.__setattr__(proxy, "_hostObject", real)
    _proxies[id(real)] = proxy


def wrap(value: Any) -> Any:
    """PySide6's value as module code sees it."""
    if isinstance(value, (list, tuple)):
        return tuple(map(wrap, value))
    if isinstance(value, dict):
        return {key: wrap(item) for key, item in value.items()}
    if not isinstance(value, shiboken6.Shiboken.Object):
        return enums.fromQt("", value) if not isinstance(value, type) else value
    known = _proxies.get(id(value))
    if known is not None and known._hostObject is value:
        return known
    proxyClass = _classFor(type(value))
    if proxyClass is None:
        return value
    proxy = proxyClass.__new__(proxyClass)
    adopt(proxy, value)
    return proxy


@cache
def _classFor(real: type) -> type[Proxy] | None:
    for candidate in real.__mro__:
        standIn = standInOf(candidate)
        if standIn:
            return classOf(standIn.module, standIn.name)
        if candidate.__module__.startswith("PySide6") and api.exists("qt", candidate.__name__):
            return classOf("qt", candidate.__name__)
    return None


def unwrap(value: Any) -> Any:
    """Module code's value as PySide6 wants it. Raises ValueError for a widget that Qt has already deleted."""
    if isinstance(value, Proxy):
        return realOf(value)
    if isinstance(value, enums.QtEnum):
        return value.member
    if isinstance(value, ProxyMeta):
        return value._hostInfo.real
    if type(value) in (list, tuple):
        return type(value)(map(unwrap, value))
    if type(value) is dict:
        return {key: unwrap(item) for key, item in value.items()}
    return value


def realOf(proxy: Proxy) -> Any:
    """The PySide6 object behind a proxy."""
    if not shiboken6.isValid(proxy._hostObject):
        raise ValueError(f"Trying to use a destroyed {type(proxy)._hostInfo.name} object")
    return proxy._hostObject


def call(function: Callable, args: Iterable[Any]) -> Any:
    """Call into Qt with unwrapped arguments; ints are turned into enums where Qt insists, as PythonQt does."""
    real = [unwrap(a) for a in args]
    try:
        return function(*real)
    except TypeError:
        for converted in _withEnums(function, real):
            try:
                return function(*converted)
            except TypeError:
                continue
        raise


def _withEnums(function: Callable, args: list[Any]) -> Iterable[list[Any]]:
    """`args` with ints as the enums that each of the function's overloads wants (where that changes anything)."""
    for signature in _signatures(function):
        parameters = [p for p in signature.parameters.values() if p.name != "self"]
        pairs = [_asEnum(a, p.annotation) for a, p in zip(args, parameters)]
        if len(args) <= len(parameters) and any(new is not old for new, old in zip(pairs, args)):
            yield pairs


def _signatures(function: Callable) -> list[Any]:
    """PySide6's account of a function's overloads; of a bound method it only knows those of the class that has it."""
    owner = getattr(function, "__self__", None)
    owners = owner.__mro__ if isinstance(owner, type) else type(owner).__mro__
    name = getattr(function, "__name__", "")
    candidates = [function, *(vars(c)[name] for c in owners if name in vars(c))]
    found = next((s for s in map(get_signature, candidates) if s), [])
    return found if isinstance(found, list) else [found]


def _asEnum(value: Any, annotation: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, enum.Enum)):
        return value
    number = value.value if isinstance(value, enum.Enum) else value
    if annotation is int:
        return value if type(value) is int else number
    wanted = [t for t in (annotation, *typing.get_args(annotation)) if isinstance(t, enum.EnumMeta)]
    return wanted[0](number) if wanted and not isinstance(value, wanted[0]) else value


from . import attributes  # noqa: E402  (which needs this module)
