"""The expressions in a MONAI bundle's configuration that are harmless: worked out here from their syntax tree, never run.

To MONAI a text with a dollar sign before it is a Python program. What says how a network is asked needs next to nothing of
that: names of other entries, numbers, paths put together, a choice. Everything else is refused by the name of its entry.
"""

from __future__ import annotations

import ast
import operator
import posixpath
import re
import warnings
from collections.abc import Callable
from typing import Any

from SegAdversarialLib.errors import InputError

_LONGEST = 2000
"""Characters of an expression, and entries of a list or letters of a text that one makes."""
_LARGEST = 1e18

_REFERENCE = re.compile(r"@(?:\w*)(?:::\w*)*")
_PLACE = "__reference_"

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda some, others: some in others,
    ast.NotIn: lambda some, others: some not in others,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "list": lambda *values: list(*values),
    "tuple": lambda *values: tuple(*values),
    "range": lambda *values: list(_short(range(*values))),
    "len": len,
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "abs": abs,
    "min": min,
    "max": max,
    "round": round,
    "os.path.join": lambda *parts: posixpath.join(*parts),
    "torch.device": lambda *names: ":".join(map(str, names)),
    "torch.cuda.is_available": lambda: False,
}
"""What may be called. The device that a bundle chooses is not asked for: the user chooses one here."""

_KEYS = {"IMAGE": "image", "LABEL": "label", "PRED": "pred", "LOSS": "loss", "METADATA": "metadata"}
_TYPES = ("float16", "float32", "float64", "bfloat16", "half", "float", "double", "uint8", "int8", "int16", "int32", "int64")
_CONSTANTS = {
    **{f"{room}CommonKeys.{name}": value for room in ("", "monai.utils.") for name, value in _KEYS.items()},
    **{f"{room}.{name}": name for room in ("torch", "numpy", "np") for name in _TYPES},
}
_MOVING = ("to", "cuda", "cpu", "eval")
"""Methods that leave a network what it is."""


class _Refused(Exception):
    """What in an expression is not worked out, in words."""


def tree_of(text: str) -> tuple[ast.expr, dict[str, str]]:
    """The syntax tree of an expression (without its dollar sign), and the entries that its made-up names stand for.

    Raises:
        ValueError: it is none, or too long.
    """
    if len(text) > _LONGEST:
        raise ValueError("it is too long")
    entries: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        entries[f"{_PLACE}{len(entries)}"] = found[0][1:]
        return f"{_PLACE}{len(entries) - 1}"

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of strange literals
            tree = ast.parse(_REFERENCE.sub(name, text.replace("#", "::")).strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
        raise ValueError("it is no Python expression") from error
    return tree, entries


def value_of(text: str, entry: str, look_up: Callable[[str], Any]) -> Any:
    """What an expression says.

    Args:
        text: the expression without its dollar sign.
        entry: the name of the entry that it is, for messages.
        look_up: gives the value of another entry by its name.

    Raises:
        InputError: it is more than what is worked out here.
    """
    try:
        tree, entries = tree_of(text)
        return _Reader(entries, look_up).value(tree)
    except InputError:
        raise
    except _Refused as error:
        raise refusal(text, entry, str(error)) from None
    except Exception as error:  # sums of texts and numbers, missing entries of lists: whatever data do not fit
        raise refusal(text, entry, f"{type(error).__name__}: {error}") from None


def refusal(text: str, entry: str, why: str) -> InputError:
    """The sentence for an expression that is not worked out."""
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    return InputError(
        f'The bundle\'s {entry} is the expression "${shown}", a program that could do anything and is not run here ({why}); '
        "write its value in its place."
    )


class _Reader:
    def __init__(self, entries: dict[str, str], look_up: Callable[[str], Any]) -> None:
        self._entries, self._look_up = entries, look_up

    def value(self, node: ast.expr) -> Any:
        """What a part of an expression says.

        Raises:
            _Refused: it is more than data.
        """
        match node:
            case ast.Constant(value=found) if found is None or isinstance(found, (bool, int, float, str)):
                if isinstance(found, str) and _PLACE in found:
                    raise _Refused("the name of an entry inside a text")
                return _bounded(found)
            case ast.Name(id=name) if name in self._entries:
                return self._look_up(self._entries[name])
            case ast.List(elts=parts):
                return [self.value(x) for x in parts]
            case ast.Tuple(elts=parts):
                return tuple(self.value(x) for x in parts)
            case ast.Dict(keys=keys, values=values):
                return {self.value(_there(key)): self.value(x) for key, x in zip(keys, values)}
            case ast.JoinedStr(values=parts):
                return _bounded("".join(self._text(x) for x in parts))
            case ast.UnaryOp(op=operation, operand=operand) if type(operation) in _UNARY:
                return _UNARY[type(operation)](self.value(operand))
            case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _BINARY:
                return _combined(operation, self.value(left), self.value(right))
            case ast.BoolOp(op=operation, values=parts):
                return self._first(parts, stops_at=isinstance(operation, ast.Or))
            case ast.IfExp(test=test, body=body, orelse=other):
                return self.value(body if self.value(test) else other)
            case ast.Compare():
                return self._compared(node)
            case ast.Subscript(value=whole, slice=place):
                return self.value(whole)[self._place(place)]
            case ast.Call():
                return self._called(node)
            case ast.Attribute() if _dotted(node) in _CONSTANTS:
                return _CONSTANTS[_dotted(node)]
        raise _Refused(_name_of(node))

    def _first(self, parts: list[ast.expr], stops_at: bool) -> Any:
        found: Any = None
        for part in parts:
            found = self.value(part)
            if bool(found) == stops_at:
                break
        return found

    def _compared(self, node: ast.Compare) -> bool:
        left = self.value(node.left)
        for operation, part in zip(node.ops, node.comparators):
            right = self.value(part)
            if not _COMPARISONS[type(operation)](left, right):
                return False
            left = right
        return True

    def _place(self, node: ast.expr) -> Any:
        if not isinstance(node, ast.Slice):
            return self.value(node)
        return slice(*(None if x is None else self.value(x) for x in (node.lower, node.upper, node.step)))

    def _text(self, node: ast.expr) -> str:
        if isinstance(node, ast.FormattedValue):
            if node.format_spec is not None or node.conversion not in (-1, 115):
                raise _Refused("a format")
            return str(_plain(self.value(node.value)))
        return str(self.value(node))

    def _called(self, node: ast.Call) -> Any:
        name = _dotted(node.func)
        if name in _FUNCTIONS and not node.keywords:
            return _short(_FUNCTIONS[name](*(_plain(self.value(x)) for x in node.args)))
        if isinstance(node.func, ast.Attribute) and node.func.attr in _MOVING and isinstance(node.func.value, ast.Name):
            return self.value(node.func.value)
        raise _Refused(f"a call of {name or 'something'}")


def _combined(operation: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(operation, ast.Mod) and isinstance(left, str):
        raise _Refused("a format")
    if isinstance(operation, ast.Mult):
        for some, times in ((left, right), (right, left)):
            if isinstance(some, (str, list, tuple)) and isinstance(times, int) and len(some) * times > _LONGEST:
                raise _Refused("it makes something too long")
    return _bounded(_BINARY[type(operation)](left, right))


def _bounded(found: Any) -> Any:
    if isinstance(found, (int, float)) and abs(found) > _LARGEST:
        raise _Refused("a number that is too large")
    return _short(found)


def _short(found: Any) -> Any:
    if isinstance(found, (str, list, tuple, range)) and len(found) > _LONGEST:
        raise _Refused("it makes something too long")
    return found


def _plain(found: Any) -> Any:
    """A value that a function may get: no part of the bundle that is still to be made."""
    if isinstance(found, (list, tuple, dict, str, int, float, range)) or found is None:
        return found
    raise _Refused("a function of something that is no plain data")


def _there(key: ast.expr | None) -> ast.expr:
    if key is None:
        raise _Refused("a dictionary inside another")
    return key


def _dotted(node: ast.expr) -> str:
    """A name with its rooms, such as torch.cuda.is_available; "": it is none."""
    if isinstance(node, ast.Name):
        return node.id
    inner = _dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else ""


def _name_of(node: ast.expr) -> str:
    dotted = _dotted(node)
    return f'the name "{dotted}"' if dotted else f"{type(node).__name__} is not among what is worked out"
