"""Cancelled, or killed, at every stage of a job: nothing half-written counts, and the next run is as one undisturbed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from fault_helpers import in_child, listing, needs_fork, run_toy, spread, toy_job, unfinished

from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.jobs.opening import open_case
from SegAdversarialLib.jobs.results import read_attack


def same_rows(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    def plain(rows: list[dict[str, Any]]) -> str:
        return repr([{k: v for k, v in row.items() if "second" not in k and "time" not in k} for row in rows])

    return plain(one) == plain(other)


def whole(folder: Path, job: Any) -> None:
    """Every folder that says it holds a result holds all of it."""
    for marker in folder.glob("out/*/result.json"):
        if job.kind == "attack":
            read_attack(marker.parent, open_case(job.case))


class Stopping:
    """Says that the user wants to stop, from the nth time on that it is asked."""

    def __init__(self, after: int) -> None:
        self.asked, self.after = 0, after

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked > self.after


JOBS: list[dict[str, Any]] = [
    {"kind": "attack"},
    {"kind": "segment"},
    {"kind": "evaluate"},
    {"kind": "certify", "n": 60, "n0": 4, "sigma": 0.01},
]


AGAIN: dict[str, dict[str, Any]] = {x["kind"]: {"overwrite": True} for x in JOBS}


@pytest.mark.parametrize("said", JOBS, ids=lambda x: x["kind"])
def test_cancelled_at_every_stage(said: dict[str, Any], tmp_path: Path) -> None:
    job, counting = toy_job(tmp_path, **said), Stopping(10**9)
    undisturbed = run_toy(job, cancel=counting)
    expected = sorted(listing(tmp_path / "out"))
    assert counting.asked > 1
    # a certificate asks at each of its many draws, all alike
    for after in spread(counting.asked, 3 if said["kind"] == "certify" else 6):
        there = tmp_path / f"after-{after}"
        there.mkdir()
        stopped = toy_job(there, **said)
        inputs = listing(there / "case")
        with pytest.raises(Cancelled, match="what was finished is kept"):
            run_toy(stopped, cancel=Stopping(after))
        assert not unfinished(there) and listing(there / "case") == inputs
        whole(there, stopped)
        assert same_rows(run_toy(toy_job(there, **said, **AGAIN[said["kind"]])), undisturbed)
        assert sorted(listing(there / "out")) == expected


@needs_fork
@pytest.mark.parametrize("said", JOBS[:2], ids=lambda x: x["kind"])
def test_killed_at_every_stage(said: dict[str, Any], tmp_path: Path) -> None:
    """At events, and before and after every change of a name on disk, which is where a result becomes one."""
    toy_job(tmp_path, **said)
    undisturbed = run_toy(toy_job(tmp_path, **said))
    expected = sorted(listing(tmp_path / "out"))
    moves = _moves(tmp_path / "counted", said)
    for place in spread(2 * moves, 8):
        there = tmp_path / f"at-{place}"
        there.mkdir()
        job = toy_job(there, **said)
        inputs = listing(there / "case")
        assert in_child(_killed_at_move, place, job) == -signal.SIGKILL
        assert listing(there / "case") == inputs
        whole(there, job)
        assert same_rows(run_toy(toy_job(there, **said, **AGAIN[said["kind"]])), undisturbed)
        assert sorted(listing(there / "out")) == expected


def _moves(folder: Path, said: dict[str, Any]) -> int:
    """How often a job changes names on disk."""
    folder.mkdir()
    job, count, replace = toy_job(folder, **said), [0], os.replace

    def counted(*paths: Any) -> None:
        count[0] += 1
        replace(*paths)

    os.replace = counted  # type: ignore[assignment]
    try:
        run_toy(job)
    finally:
        os.replace = replace
    return count[0]


def _killed_at_move(place: int, job: Any) -> None:
    """Run a job that is killed before (even) or after (odd) a change of a name."""
    count, replace = [0], os.replace

    def deadly(*paths: Any) -> None:
        if count[0] == place:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)
        if count[0] + 1 == place:
            os.kill(os.getpid(), signal.SIGKILL)
        count[0] += 2

    os.replace = deadly  # type: ignore[assignment]
    run_toy(job)
