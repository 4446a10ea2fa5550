"""What was odd about a study, with notes that say the same of other cases and other numbers folded into one."""

from __future__ import annotations

import re
from typing import NamedTuple

from SegAdversarialLib.studies.report.material import Account

_WORD = re.compile(r"[^\s/\\,;:()\"']+")
_NUMBER = re.compile(r"(?<![A-Za-z])\d+(?:\.\d+)?(?:e[+-]?\d+)?")
"""A number that is no part of a name such as T1."""

_PRIVATE = 0xE000
"""Where Unicode leaves characters to everybody's own use."""


class Note(NamedTuple):
    """Notes that differ in numbers or cases alone.

    Attributes:
        example: the one that was said most often.
        alike: how many different ones there are.
        times: how often they were said, all together.
    """

    example: str
    alike: int
    times: int


def gathered(account: Account) -> list[Note]:
    """The notes in as few lines as tell them; those on different networks stay apart, whatever these are called."""
    networks = {name: chr(_PRIVATE + n) for n, name in enumerate(sorted(account.networks, key=len, reverse=True))}
    cases = {x for patient, names in account.cases.items() for x in (patient, *names)}
    found: dict[str, list[tuple[int, str]]] = {}
    for note, times in account.notes.items():
        kind = note
        for name, sign in networks.items():
            kind = kind.replace(name, sign)
        kind = _WORD.sub(lambda word: "#" if word[0].rstrip(".") in cases else word[0], kind)
        found.setdefault(_NUMBER.sub("#", kind), []).append((times, note))
    return [Note(max(alike, key=lambda x: x[0])[1], len(alike), sum(times for times, _ in alike)) for alike in found.values()]
