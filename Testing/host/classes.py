"""What the host knows of each class: the real class behind it, its properties, its signals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from PySide6 import QtCore, QtGui, QtNetwork, QtPrintSupport, QtSvg, QtUiTools, QtWidgets, QtXml

from . import api, dropped

QT_MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtPrintSupport, QtUiTools, QtSvg, QtXml)


@dataclass(frozen=True)
class StandIn:
    """A PySide6 class that plays a CTK or Slicer class."""

    module: str
    name: str
    signals: dict[str, str]


_standIns: dict[tuple[str, str], type] = {}
_standInOf: dict[type, StandIn] = {}


def hostWidget(module: str, name: str, signals: dict[str, str] | None = None) -> Callable[[type], type]:
    """Declare the decorated PySide6 class as the host's `module.name` (see the top of gate.py)."""

    def declare(realClass: type) -> type:
        if not api.exists(module, name):
            raise ValueError(f"Slicer has no {module}.{name}")
        inherited = [_standInOf[base].signals for base in reversed(realClass.__mro__) if base in _standInOf]
        own = {api.normalized(key): value for key, value in (signals or {}).items()}
        _standIns[module, name] = realClass
        _standInOf[realClass] = StandIn(module, name, {k: v for s in [*inherited, own] for k, v in s.items()})
        return realClass

    return declare


def realClass(module: str, name: str) -> type | None:
    """The PySide6 class that plays `module.name`; None if there is none yet."""
    return _standIns.get((module, name)) or (_qtClass(name) if module == "qt" else None)


def standInOf(real: type) -> StandIn | None:
    """What a stand-in class plays."""
    return _standInOf.get(real)


def _qtClass(name: str) -> type | None:
    found = next((getattr(module, name) for module in QT_MODULES if hasattr(module, name)), None)
    return found if isinstance(found, type) else None


class ClassInfo:
    """What the host knows of one class: its names in Slicer, its real class, its properties and signals."""

    def __init__(self, module: str, name: str, real: type) -> None:
        self.module, self.name, self.real = module, name, real
        self.names = api.names(module, name)
        self.standIn = _standInOf.get(real)
        self.cpp = api.cppClass(name)
        self.bases = tuple(c.__name__ for c in real.__mro__ if c not in _standInOf and c.__module__.startswith("PySide6"))
        self.isQObject = issubclass(real, QtCore.QObject)
        self.properties = self._properties() if self.isQObject else {}
        self.signals = self._signals() if self.isQObject else {}

    def _properties(self) -> dict[str, api.Property]:
        meta = self.real.staticMetaObject
        found = {p.name(): api.Property(p.typeName(), p.isWritable()) for p in map(meta.property, range(meta.propertyCount()))}
        found |= self.cpp.properties if self.cpp else {}
        if self.name == "QTimer":
            found.pop("singleShot")  # as in PythonQt: the static method is more useful
        return {key: value for key, value in found.items() if key in self.names}

    def _signals(self) -> dict[str, str]:
        """Signature -> name of the PySide6 Signal; empty if Qt knows the signature itself; None-like "?" if missing."""
        meta = self.real.staticMetaObject
        found = dict.fromkeys(_signatures(self._qtBase().staticMetaObject), "")
        for signature in self.cpp.signals if self.cpp else ():
            mapped = self.standIn.signals.get(signature) if self.standIn else None
            found[signature] = mapped or ("" if meta.indexOfSignal(signature) >= 0 else "?")
        return {key: value for key, value in found.items() if key.partition("(")[0] in self.names}

    def _qtBase(self) -> type:
        return next(c for c in self.real.__mro__ if c.__module__.startswith("PySide6"))

    def signalNamed(self, name: str) -> str | None:
        """The first signature of the signals with that name."""
        own = (s for s in self.signals if s.partition("(")[0] == name)
        return next(own, None)

    def inherits(self, name: str) -> bool:
        """Whether the C++ class is or derives from `name`."""
        return name in (self.name, *self.bases, *(self.cpp.bases if self.cpp else ()))

    def missing(self, name: str) -> Exception:
        """Why a name that Slicer's list has cannot be given."""
        why = dropped.whyName((self.name, *self.bases), name)
        if why:
            return AttributeError(f"{self}.{name} is refused: it is not the same in Qt 5 and Qt 6; {why}")
        if self.standIn:
            return NotImplementedError(f"the host's {self.name} has no {name} yet: add it to Testing/host")
        return AttributeError(f"{self}.{name} is not in Qt 6 (or not in PySide6): do without it")

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


def _signatures(meta: QtCore.QMetaObject) -> Iterable[str]:
    methods = map(meta.method, range(meta.methodCount()))
    isSignal = QtCore.QMetaMethod.MethodType.Signal
    return [bytes(m.methodSignature()).decode() for m in methods if m.methodType() == isSignal]
