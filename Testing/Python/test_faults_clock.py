"""A clock that goes back, or jumps by a year: what is told of the time stays sensible, and results are the same."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_helpers import run_toy, toy_job
from hypothesis import given
from hypothesis import strategies as st

from SegAdversarialLib.jobs.time_left import TimeLeft

YEAR = 365 * 86400.0
JUMPS = {"back": [0.0, 5.0, -3600.0, -3599.0], "a year": [0.0, 1.0, YEAR, YEAR + 1], "still": [7.0, 7.0, 7.0]}


def clock(moments: list[float]) -> Callable[[], float]:
    """Gives the moments one after the other, again and again."""
    return itertools.cycle(moments).__next__


@pytest.mark.parametrize("jump", JUMPS)
def test_a_job_by_a_clock_that_jumps(jump: str, tmp_path: Path) -> None:
    rows = run_toy(toy_job(tmp_path))
    events: list[dict[str, Any]] = []
    again = run_toy(toy_job(tmp_path, overwrite=True), clock=clock(JUMPS[jump]), emit=events.append)
    assert [x["attack"] for x in again] == [x["attack"] for x in rows]
    told = [x["left"] for x in events if x["event"] == "progress" and "left" in x]
    assert all(x >= 0 for x in told)
    fractions = [x["fraction"] for x in events if x["event"] == "progress"]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] <= 1


@pytest.mark.parametrize("shift", [-YEAR, YEAR, -1e9])
def test_the_date_is_wrong(shift: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of files do not depend on it, and nothing is taken for older or newer than it is."""
    run_toy(toy_job(tmp_path))
    there = {x.name for x in (tmp_path / "out").rglob("*")}
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + shift)
    run_toy(toy_job(tmp_path, overwrite=True))
    assert {x.name for x in (tmp_path / "out").rglob("*")} == there


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-1e9, 1e9)), max_size=30))
def test_time_left_by_any_clock(steps: list[tuple[float, float]]) -> None:
    moments = iter([0.0, *(x for _, x in steps)])
    left = TimeLeft(lambda: next(moments))
    for fraction, _ in steps:
        told = left.after(fraction)
        assert told is None or told >= 0
