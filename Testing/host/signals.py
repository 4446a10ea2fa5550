"""Signals and slots as PythonQt has them: string signatures, trimmed arguments, errors printed and remembered."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from PySide6 import QtCore

from . import api, dropped

if TYPE_CHECKING:
    from .gate import Proxy

slotErrors: list[BaseException] = []
refusedConnections: list[str] = []
qtWarnings: list[str] = []


def warn(message: str) -> None:
    """What Qt 5 would print, and Qt 6 does not."""
    print(message, file=sys.stderr)
    qtWarnings.append(message)


def guarded(function: Callable, trim: bool = True) -> Callable:
    """`function` as a slot: arguments wrapped and (as PythonQt does) cut to as many as it takes, errors remembered."""
    from .gate import wrap

    count = _argumentCount(function) if trim else None

    def slot(*args: Any) -> None:
        try:
            function(*map(wrap, args[:count]))
        except Exception as error:
            traceback.print_exc()
            slotErrors.append(error)

    return slot


def _argumentCount(function: Callable) -> int | None:
    """How many arguments PythonQt passes; None for all (`*args`, partial objects, built-in functions)."""
    bound = isinstance(function, MethodType)
    plain = function.__func__ if bound else function
    if not isinstance(plain, FunctionType) or plain.__code__.co_flags & 0x04:
        return None
    return plain.__code__.co_argcount - bound


class SignalProxy:
    """`button.clicked`: connect, disconnect, emit."""

    def __init__(self, proxy: Proxy, signature: str) -> None:
        self._proxy, self._signature = proxy, signature

    def connect(self, function: Callable) -> bool:
        """Connect to a Python callable, which gets all arguments."""
        return _connect(self._proxy, self._signature, function, guarded(function, trim=False))

    def disconnect(self, function: Callable | None = None) -> bool:
        """Disconnect one callable, or all."""
        return _disconnect(self._proxy, self._signature, function)

    def emit(self, *args: Any) -> None:
        """Emit the signal."""
        from .gate import realOf, unwrap

        name = type(self._proxy)._hostInfo.signals[self._signature] or self._signature.partition("(")[0]
        getattr(realOf(self._proxy), name).emit(*map(unwrap, args))

    __call__ = emit

    def __repr__(self) -> str:
        return f"<qt signal {self._signature} of {type(self._proxy)._hostInfo.name}>"


def connect(proxy: Proxy, signal: str, *target: Any) -> bool:
    """`sender.connect(signal, callable)` or `sender.connect(signal, receiver, slot)`; False if there is no such signal."""
    signature = _checked(proxy, signal, "connect")
    if signature is None:
        return False
    if len(target) == 1:
        return _connect(proxy, signature, target[0], guarded(target[0]))
    receiver, slot = target[0], api.normalized(target[1])
    if not _hasSlot(receiver, slot):
        return _refuse(f"QObject::connect: No such slot {type(receiver)._hostInfo.name}::{slot}")
    name, _, arguments = slot.rstrip(")").partition("(")
    count = len(arguments.split(",")) if arguments else 0
    from .gate import unwrap

    method = getattr(unwrap(receiver), name)
    return _connect(proxy, signature, (receiver, slot), guarded(lambda *args: method(*map(unwrap, args[:count]))))


def disconnect(proxy: Proxy, signal: str, *target: Any) -> bool:
    """The way back; without a target all that Python connected to the signal."""
    signature = _checked(proxy, signal, "disconnect")
    if signature is None:
        return False
    key = None if not target else target[0] if len(target) == 1 else (target[0], api.normalized(target[1]))
    return _disconnect(proxy, signature, key)


def _checked(proxy: Proxy, signal: str, what: str) -> str | None:
    info = type(proxy)._hostInfo
    signature = api.normalized(signal.lstrip("2"))
    if signature not in info.signals:
        why = dropped.SIGNALS.get(signature)
        hint = f" in Qt 6: {why}" if why else ""
        _refuse(f"PythonQt: QObject::{what}() signal '{signal}' does not exist on {info.name}{hint}")
        return None
    if info.signals[signature] == "?":
        raise NotImplementedError(f"the host's {info.name} has no signal {signature} yet: add it to Testing/host")
    return signature


def _refuse(message: str) -> bool:
    print(message, file=sys.stderr)
    refusedConnections.append(message)
    return False


def _hasSlot(receiver: Proxy, slot: str) -> bool:
    from .gate import realOf

    info = type(receiver)._hostInfo
    return realOf(receiver).metaObject().indexOfMethod(slot) >= 0 or bool(info.cpp and slot in info.cpp.slots)


def _records(real: QtCore.QObject) -> list[tuple[str, Any, Callable]]:
    """(signature, what the caller gave, slot) of all connections; kept on the object so that they end with it."""
    if not hasattr(real, "_hostConnections"):
        real._hostConnections = []
    return real._hostConnections


def _connect(proxy: Proxy, signature: str, target: Any, slot: Callable) -> bool:
    from .gate import realOf

    real = realOf(proxy)
    attribute = type(proxy)._hostInfo.signals[signature]
    if attribute:
        getattr(real, attribute).connect(slot)
    elif not QtCore.QObject.connect(real, QtCore.SIGNAL(signature), slot):
        return False
    _records(real).append((signature, target, slot))
    return True


def _disconnect(proxy: Proxy, signature: str, target: Any) -> bool:
    from .gate import realOf

    real = realOf(proxy)
    attribute = type(proxy)._hostInfo.signals[signature]
    found = [r for r in _records(real) if r[0] == signature and (target is None or r[1] == target)]
    found = found if target is None else found[:1]
    for record in found:
        _records(real).remove(record)
        if attribute:
            getattr(real, attribute).disconnect(record[2])
        else:
            QtCore.QObject.disconnect(real, QtCore.SIGNAL(signature), record[2])
    return bool(found)
