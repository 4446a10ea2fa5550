"""How files are spoilt at random; SEGADVERSARIAL_FUZZ=20 tries twenty times as many, ever other ones."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

LONGER = int(os.environ.get("SEGADVERSARIAL_FUZZ", "1"))


def fuzzed(examples: int) -> Any:
    """Settings of a test with so many examples, the same ones each time unless it was asked for longer runs."""
    return settings(
        max_examples=examples * LONGER,
        derandomize=LONGER == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


WORDS = (
    b"",
    b"-1",
    b"0",
    b"999999999999",
    b"nan",
    b"inf",
    b"1e400",
    b"9" * 30,
    b"9" * 5000,
    b"(",
    b"%",
    b"\xff",
    b"..",
    b"\0",
)
"""What stands where a number or a word is expected."""

NUMBERS = st.sampled_from([b"\xff\xff", b"\0\0", b"\xff\x7f", b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\0" * 8])

KINDS = st.sampled_from(["byte", "number", "cut", "token", "insert", "line"])
CHANGE = st.tuples(KINDS, st.floats(0, 1), st.binary(min_size=1, max_size=8))
CHANGES = st.lists(st.tuples(CHANGE, NUMBERS, st.sampled_from(WORDS)), min_size=1, max_size=6)


def spoilt(data: bytes, changes: list[Any], head: int = 600) -> bytes:
    """A file with changes, most of them in its first `head` bytes."""
    for (kind, share, piece), number, word in changes:
        place = int(share * min(len(data), head))
        if kind == "byte":
            data = data[:place] + piece[:1] + data[place + 1 :]
        elif kind == "number":
            data = data[:place] + number + data[place + len(number) :]
        elif kind == "cut":
            data = data[:place] + data[place + len(piece) :]
        elif kind == "insert":
            data = data[:place] + piece + data[place:]
        elif kind == "line":
            lines = data.split(b"\n")
            data = b"\n".join(x for n, x in enumerate(lines) if n != int(share * min(len(lines), 20)))
        else:
            begin = max(data.rfind(x, 0, place) for x in (b" ", b"\n", b":", b"=")) + 1
            ends = [n for n in (data.find(x, begin) for x in (b" ", b"\n")) if n >= 0]
            data = data[:begin] + word + data[min(ends, default=len(data)) :]
    return data


def places(data: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [x for key, value in inside for x in ((*place, key), *places(value, (*place, key)))]


def edited(data: Any, edits: list[Any]) -> Any:
    """JSON data with something else at some places."""
    data = copy.deepcopy(data)
    for share, kind, junk in edits:
        if not (found := places(data)):
            break
        *way, last = found[int(share * len(found))]
        inner = data
        for step in way:
            inner = inner[step]
        if kind == "drop":
            del inner[last]
        elif kind == "name" and isinstance(inner, dict):
            inner[str(junk)[:40]] = inner.pop(last)
        elif kind == "add" and isinstance(inner, list):
            inner.append(copy.deepcopy(junk))
        else:
            inner[last] = copy.deepcopy(junk)
    return data


def assert_short(error: Exception) -> None:
    """One line; names that somebody gave may be long."""
    text = str(error)
    assert "\n" not in text and "Traceback" not in text and len(text) < 6000
    text.encode()


class Hang(BaseException):
    """Something takes longer than anybody waits."""


@contextmanager
def no_hang(seconds: float) -> Iterator[None]:
    """`Hang` where what is inside takes so many seconds of this process's own time, however busy the machine is."""
    if not hasattr(signal, "setitimer"):  # Windows
        yield
        return

    def ended(*_: Any) -> None:
        raise Hang

    earlier = signal.signal(signal.SIGVTALRM, ended)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, earlier)
