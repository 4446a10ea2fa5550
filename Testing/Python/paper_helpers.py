"""Rows of studies as a store would give them, made up so that a claim of a paper must hold, or must not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]


def patients(count: int) -> list[str]:
    """Names."""
    return [f"patient-{n}" for n in range(count)]


def scatter(*of: object) -> float:
    """A small number that is always the same of the same things, different of others."""
    return float(np.random.default_rng(abs(hash_of(of)) % 2**32).normal(0, 0.004))


def hash_of(things: Sequence[object]) -> int:
    """The same in each run, as Python's own is not."""
    return sum((n + 1) * x for n, x in enumerate("|".join(map(str, things)).encode()))


def result(
    network: str,
    attack: str,
    patient: str,
    after: Mapping[str, float],
    before: Mapping[str, float],
    settings: Mapping[str, Any],
    channels: str = "all",
    measure: str = "dice",
) -> list[Row]:
    """A row for each structure."""
    about = {"network": network, "attack": attack, "patient": patient, "case": patient, "repeat": 0, "channels": channels}
    return [
        {**about, "settings": dict(settings), "structure": x, f"{measure}_before": before[x], f"{measure}_after": after[x]}
        for x in before
    ]


def verdicts(claims: Iterable[Any]) -> dict[str, str]:
    """The verdict of each claim, by its first words."""
    return {x.text: x.verdict for x in claims}
