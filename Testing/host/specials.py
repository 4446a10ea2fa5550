"""Where PythonQt's own method differs from PySide6's: connect, findChild, QTimer.singleShot and a few more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import shiboken6
from PySide6 import QtCore

from . import api, signals

if TYPE_CHECKING:
    from .classes import ClassInfo
    from .gate import Proxy


class Bound:
    """A special method of one proxy: to be called, like any other."""

    def __init__(self, function: Callable, proxy: Proxy, name: str) -> None:
        self._function, self._proxy, self.__name__ = function, proxy, name

    def __call__(self, *args: Any) -> Any:
        return self._function(self._proxy, *args)

    def __repr__(self) -> str:
        return f"<built-in qt slot {self.__name__} of {type(self._proxy)._hostInfo.name} object: call it>"


def _className(proxy: Proxy) -> str:
    return type(proxy).__name__


def _inherits(proxy: Proxy, name: str) -> bool:
    return type(proxy)._hostInfo.inherits(name)


def _help(proxy: Proxy) -> None:
    print("\n".join(dir(proxy)))


def _delete(proxy: Proxy) -> None:
    shiboken6.delete(proxy._hostObject)


def _matches(real: QtCore.QObject, kind: Any, name: str | None) -> bool:
    from .gate import ProxyMeta, wrap

    if name is not None and real.objectName() != name:
        return False
    if isinstance(kind, ProxyMeta):
        return isinstance(real, kind._hostInfo.real)
    return real.inherits(kind) or wrap(real).inherits(kind)


def _findChild(proxy: Proxy, kind: Any, name: str | None = None) -> Proxy | None:
    """The first child of that class (or class name) and name: children before grandchildren."""
    from .gate import realOf, wrap

    def search(real: QtCore.QObject) -> QtCore.QObject | None:
        children = real.children()
        own = next((child for child in children if _matches(child, kind, name)), None)
        deeper = (search(child) for child in children)
        return own if own is not None else next((found for found in deeper if found is not None), None)

    return wrap(search(realOf(proxy)))


def _findChildren(proxy: Proxy, kind: Any, name: str | None = None) -> tuple[Proxy, ...]:
    """All children of that class (or class name) and name, at any depth."""
    from .gate import realOf, wrap

    def search(real: QtCore.QObject) -> list[QtCore.QObject]:
        found = []
        for child in real.children():
            found += [child] * _matches(child, kind, name) + search(child)
        return found

    return wrap(search(realOf(proxy)))


def _settingsValue(proxy: Proxy, key: str, default: Any = None) -> Any:
    """PythonQt's has no `type` argument."""
    from .gate import realOf, unwrap, wrap

    return wrap(realOf(proxy).value(key, unwrap(default)))


def _singleShot(milliseconds: int, function: Callable) -> None:
    """As in Slicer the timer stays as long as the application, and with it all that the function holds."""
    if not callable(function):
        raise ValueError("QTimer.singleShot wants milliseconds and a Python callable")
    timer = QtCore.QTimer(QtCore.QCoreApplication.instance())
    timer.setSingleShot(True)
    timer.timeout.connect(signals.guarded(function))
    timer.start(int(milliseconds))


def _readAll(channel: str) -> Callable:
    """Qt 5 warns where the channels of a process are read that could not start: they are closed."""

    def read(proxy: Proxy) -> Any:
        from .gate import realOf, wrap

        process = realOf(proxy)
        if process.error() == QtCore.QProcess.ProcessError.FailedToStart:
            signals.warn("QIODevice::read (QProcess): device not open")
        return wrap(getattr(process, channel)())

    return read


_QOBJECT: dict[str, Callable] = {
    "className": _className,
    "inherits": _inherits,
    "help": _help,
    "delete": _delete,
    "connect": signals.connect,
    "disconnect": signals.disconnect,
    "findChild": _findChild,
    "findChildren": _findChildren,
}
_ONE_CLASS: dict[tuple[str, str], Callable] = {
    ("QSettings", "value"): _settingsValue,
    ("QTimer", "singleShot"): lambda _proxy, *args: _singleShot(*args),
    **{("QProcess", x): _readAll(x) for x in ("readAllStandardOutput", "readAllStandardError")},
}
_STATIC: dict[tuple[str, str], Callable] = {("QTimer", "singleShot"): _singleShot}


def bound(info: ClassInfo, name: str) -> Callable | None:
    """The special method of that name for an object of the class, if there is one."""
    if not info.isQObject:
        return _QOBJECT[name] if name in api.HANDLE_NAMES else None
    return _ONE_CLASS.get((info.name, name)) or _QOBJECT.get(name)


def ofClass(info: ClassInfo, name: str) -> Callable | None:
    """The special function of that name for the class itself: static, or wanting the object as its first argument."""
    return _STATIC.get((info.name, name)) or (_QOBJECT.get(name) if info.isQObject else None)


# PySide6 returns (value, ok) or (path, filter) where PythonQt returns the value only
_FIRST_ONLY = {
    "QFileDialog": ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getOpenFileUrl", "getSaveFileUrl"),
    "QInputDialog": ("getText", "getMultiLineText", "getInt", "getDouble", "getItem"),
    "QFontDialog": ("getFont",),
    "QLocale": ("toDouble", "toFloat", "toInt", "toLong", "toLongLong", "toShort", "toUInt", "toULong"),
    "QByteArray": ("toDouble", "toFloat", "toInt", "toUShort"),
}


def withoutOk(className: str, name: str, result: Any) -> Any:
    """The first of PySide6's pair, where PythonQt returns only that."""
    return result[0] if name in _FIRST_ONLY.get(className, ()) and isinstance(result, tuple) else result
