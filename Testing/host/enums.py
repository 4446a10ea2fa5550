"""Enums as PythonQt has them: ints. They remember the PySide6 value that Qt wants back."""

from __future__ import annotations

import enum
import operator
from collections.abc import Callable
from typing import Any


class QtEnum(int):
    """An int that remembers the PySide6 enum it stands for; `|`, `&` and `^` keep it."""

    member: enum.Enum

    def __new__(cls, member: enum.Enum) -> QtEnum:
        value = super().__new__(cls, member.value)
        value.member = member
        return value

    def _combined(self, other: object, operation: Callable[[int, int], int]) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        result = operation(int(self), int(other))
        return QtEnum(type(self.member)(result)) if isinstance(self.member, enum.Flag) and result >= 0 else result

    def __or__(self, other: object) -> Any:
        return self._combined(other, operator.or_)

    def __and__(self, other: object) -> Any:
        return self._combined(other, operator.and_)

    def __xor__(self, other: object) -> Any:
        return self._combined(other, operator.xor)

    __ror__, __rand__, __rxor__ = __or__, __and__, __xor__


class QtEnumType:
    """An enum's type: `qt.Qt.AlignmentFlag.AlignLeft`, `qt.Qt.AlignmentFlag(1)`."""

    def __init__(self, name: str, enumClass: type[enum.Enum]) -> None:
        self.__name__ = name
        self._enumClass = enumClass

    def __call__(self, value: int = 0) -> QtEnum:
        return QtEnum(self._enumClass(int(value)))

    def __getattr__(self, name: str) -> QtEnum:
        members = type.__getattribute__(self._enumClass, "__members__")
        if name not in members:
            raise AttributeError(f"enum {self.__name__} has no value {name}")
        return QtEnum(members[name])

    def __repr__(self) -> str:
        return f"<enum {self.__name__}>"


def fromQt(name: str, value: Any) -> Any:
    """PySide6's enum value or enum type as module code sees it; anything else unchanged."""
    if isinstance(value, enum.Enum):
        return QtEnum(value)
    if isinstance(value, enum.EnumMeta):
        return QtEnumType(name, value)
    return value
